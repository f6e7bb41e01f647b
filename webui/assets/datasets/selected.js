// The bar that appears while pictures are selected: how many, and what can be done with them.

import { post } from './api.js';
import { button, fill, h } from './dom.js';
import { exclude } from './grid.js';
import { done } from './history.js';
import { askText, problem } from './notices.js';
import { t } from './words.js';

const NEW = '\n';
/** No folder is called so. */

export function mount(element, store, tell) {
    const show = () => {
        const { size } = store.selection;
        element.hidden = size === 0;
        if (!size) return;
        const names = [...store.selection], back = store.query.excluded;
        fill(element, h('strong', { role: 'status' }, t('dataset.selected', { count: size })),
            !store.readOnly && [
                button(t('dataset.edit_captions'), () => store.emit('panel', { id: 'edits' }), { icon: 'edit' }),
                button(t('dataset.caption_these'), () => tell('caption', { dataset: store.dataset, names }), { icon: 'tag' }),
                !back && move(store),
                button(t(back ? 'dataset.include' : 'dataset.exclude'), () => exclude(store, names), { kind: back ? '' : 'bad' }),
            ],
            button(t('dataset.select_none'), () => store.select([]), { icon: 'close', bare: true }));
    };
    store.on('selection', show);
    store.on('query', show);
    show();
}

/** Into which folder the selection shall go. */
function move(store) {
    const choose = h('select', { class: 'room-button', 'aria-label': t('dataset.move') },
        h('option', { value: '' , disabled: true, selected: true, hidden: true }, t('dataset.move')),
        store.info.concepts.map(({ folder }) => h('option', { value: `/${folder}` }, folder || t('dataset.own_pictures'))),
        h('option', { value: NEW }, t('dataset.new_folder')));
    choose.addEventListener('change', () => {
        const to = choose.value;
        choose.selectedIndex = 0;
        if (to === NEW) askText(t('dataset.new_folder'), t('dataset.folder_name'), '', t('dataset.move_do'), (folder) => send(store, folder));
        else send(store, to.slice(1)).catch(problem);
    });
    return choose;
}

async function send(store, folder) {
    const names = [...store.selection];
    const told = await post('move', { dataset: store.dataset, names, folder });
    store.select([]);
    done(store, t('dataset.moved', { count: names.length, folder: folder || t('dataset.own_pictures') }), told.history);
    await store.changed(told.names, told.history);
}
