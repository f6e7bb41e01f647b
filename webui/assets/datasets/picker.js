// Chooses a folder of the machine that the program runs on: to use its pictures where they lie, or to copy them into a dataset.

import { get, post } from './api.js';
import { button, fill, h, icon, set } from './dom.js';
import { askText, dialog, problem } from './notices.js';
import { arrived } from './report.js';
import { t } from './words.js';

export function pick(store) {
    const path = h('input', { type: 'text', class: 'room-input', spellcheck: 'false', 'aria-label': t('dataset.picker.path'), placeholder: t('dataset.picker.path') });
    const list = h('ul', { class: 'room-folders' }), trouble = h('p', { class: 'room-trouble', role: 'alert' });
    const up = button(t('dataset.picker.up'), () => go(shown.parent), { icon: 'back', bare: true });
    const use = button(t('dataset.picker.use'), () => open(), {}), copy = button(t('dataset.picker.copy'), () => copied(), { kind: 'primary' });
    let shown = { at: '', parent: null };

    async function go(at) {
        try {
            shown = await get('folders', { at });
        } catch (error) {
            fill(trouble, [error.message, error.todo].filter(Boolean).join(' '));
            return;
        }
        fill(trouble);
        path.value = shown.at;
        set(up, { disabled: shown.parent === null });
        for (const each of [use, copy]) set(each, { disabled: !shown.at });
        const rows = shown.folders.map((folder) => h('li', {}, h('button', { type: 'button', onclick: () => go(folder.path) },
            icon('folder'), h('span', {}, folder.name), folder.pictures > 0 && h('small', {}, t('dataset.pictures', { count: folder.pictures })))));
        fill(list, rows.length ? rows : h('li', { class: 'room-hint' }, t('dataset.picker.no_folders')), !shown.whole && h('li', { class: 'room-hint' }, t('dataset.picker.too_many')));
        list.scrollTop = 0;
    }

    async function open() {
        try {
            await store.open(shown.at);
            box.close();
        } catch (error) {
            fill(trouble, [error.message, error.todo].filter(Boolean).join(' '));
        }
    }

    function copied() {
        const folder = shown.at, name = folder.split(/[\\/]/).filter(Boolean).pop();
        box.close();
        askText(t('dataset.picker.copy'), t('dataset.new_name'), name, t('dataset.copy_do'), async (typed) => {
            const made = await post('import', { folder, name: typed });
            await store.open(made.dataset).catch(problem);
            arrived(made.report);
        });
    }

    path.addEventListener('keydown', (event) => {
        if (event.key !== 'Enter' || event.isComposing) return;
        event.preventDefault();
        go(path.value);
    });
    const box = dialog(t('dataset.picker.title'), h('div', { class: 'room-picker' },
        h('p', { class: 'room-hint' }, t('dataset.picker.hint')),
        h('div', { class: 'room-path' }, up, path), trouble, list,
        h('div', { class: 'room-picker-end' }, h('p', { class: 'room-hint' }, t('dataset.picker.difference')), use, copy)), [], { wide: true });
    go('');
    return box;
}
