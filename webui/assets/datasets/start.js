// What is shown while no dataset is open: those there are, and the ways to a new one.

import { address, get, post } from './api.js';
import { button, fill, h, icon } from './dom.js';
import { askText, problem } from './notices.js';
import * as picker from './picker.js';
import { t } from './words.js';

export function mount(element, store) {
    const list = h('div', { class: 'room-cards' });
    fill(element,
        h('div', { class: 'room-head' },
            h('div', { class: 'room-title' }, h('div', {}, h('h2', { class: 'room-name' }, t('dataset.yours')), h('p', { class: 'room-facts' }, t('dataset.yours_hint')))),
            h('div', { class: 'room-actions' },
                button(t('dataset.use_folder'), () => picker.pick(store), { icon: 'folder' }),
                button(t('dataset.new'), () => create(store), { icon: 'plus', kind: 'primary' }))),
        h('div', { class: 'room-invitation small' }, icon('upload'), h('strong', {}, t('dataset.drop_new')), h('span', {}, t('dataset.drop_what'))),
        list);
    const show = async () => {
        try {
            const found = await get('list');
            fill(list, found.map((each) => card(each, store)));
        } catch (error) {
            problem(error);
        }
    };
    store.on('opened', () => store.dataset === null && show());
}

/** Asks for a name and opens an empty dataset of that name. */
export function create(store) {
    askText(t('dataset.new'), t('dataset.new_name'), '', t('dataset.create'), async (name) => {
        const { dataset } = await post('create', { name });
        await store.open(dataset);
    });
}

function card({ dataset, name, pictures, read_only: shipped, covers }, store) {
    const open = () => store.open(dataset).catch(problem);
    return h('button', { type: 'button', class: 'room-card', onclick: open, 'data-dataset': dataset },
        h('span', { class: 'room-covers', 'aria-hidden': 'true' },
            covers.map((cover) => h('img', { src: address('thumb', { dataset, name: cover.name, v: cover.v }), alt: '', loading: 'lazy', onerror: ({ target }) => target.remove() }))),
        h('strong', {}, name),
        h('span', { class: 'room-facts' }, t('dataset.pictures', { count: pictures }), shipped && ` · ${t('dataset.practice')}`));
}
