// Editing a caption where it stands. It is saved when the field is left; nothing that was typed is ever lost: what could not be
// saved stays as a draft, and a file that something else has changed is shown beside it.

import { post } from './api.js';
import { composing, h } from './dom.js';
import { dialog, problem, toast } from './notices.js';
import { t } from './words.js';

/**
 * Puts a field over the caption in a cell. `left(step)` is called when it has gone: 1 or -1 to go on with the next or previous
 * picture, 0 to stay, null when the visitor has gone elsewhere.
 */
export function edit(cell, entry, store, left) {
    const field = h('textarea', { class: 'room-editor', value: store.drafts.get(entry.name) ?? entry.caption, rows: 1, spellcheck: 'false', 'aria-label': t('dataset.caption_of', { name: entry.name }) });
    const before = field.value;
    let open = true;
    const grow = () => {
        field.style.height = 'auto';
        field.style.height = `${field.scrollHeight + 2}px`;
    };
    const leave = (step, keep) => {
        if (!open) return;
        open = false;
        window.removeEventListener('beforeunload', warn);
        const text = oneLine(field.value);
        field.remove();
        cell.classList.remove('editing');
        if (keep && (text !== before || store.drafts.has(entry.name))) save(store, entry, text);
        else if (!keep) store.drafts.delete(entry.name);
        left(step);
    };
    const warn = (event) => field.value !== before && event.preventDefault();
    field.addEventListener('input', grow);
    field.addEventListener('blur', () => document.hasFocus() && leave(null, true));
    field.addEventListener('keydown', (event) => {
        event.stopPropagation();  // the grid's keys are not meant
        if (composing(event)) return;
        const save = event.key === 'Enter' || ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === 's');
        if (save || event.key === 'Tab' || event.key === 'Escape') event.preventDefault();
        if (save) leave(0, true);
        else if (event.key === 'Tab') leave(event.shiftKey ? -1 : 1, true);
        else if (event.key === 'Escape') leave(0, false);
    });
    window.addEventListener('beforeunload', warn);
    cell.classList.add('editing');
    cell.append(field);
    grow();
    field.focus({ preventScroll: true });
    field.setSelectionRange(field.value.length, field.value.length);
    return () => leave(null, true);
}

/** The last save of each caption: {from, to} tokens, so that the next one knows the file that this one leaves. */
const saves = new Map();

/** Saves a caption. What the server refuses stays as a draft and is told. */
export function save(store, entry, caption, { token = entry.token, encoding } = {}) {
    const { dataset, drafts } = store, file = JSON.stringify([dataset, entry.name]), before = saves.get(file);
    drafts.set(entry.name, caption);
    const saving = (async () => {
        const last = await before;
        return send(store, { dataset, drafts, entry, caption, token: last && last.from === token ? last.to : token, encoding });
    })();
    saves.set(file, saving);
    return saving;
}

async function send(store, { dataset, drafts, entry, caption, token, encoding }) {
    try {
        const saved = await post('caption', { dataset, name: entry.name, caption, token, encoding });
        if (drafts.get(entry.name) === caption) drafts.delete(entry.name);
        if (store.dataset === dataset) {
            store.emit('entry', { entry: saved.entry });
            store.changed([entry.name], saved.history).catch(problem);
        }
        return { from: token, to: saved.entry.token };
    } catch (error) {
        if (error.code === 'caption.changed' || error.code === 'dataset.conflict') conflict(store, entry, caption, error);
        else if (error.code === 'caption.cannot_encode') toast([error.message, error.todo].join(' '), { bad: true, seconds: 30, action: { label: t('dataset.as_utf8'), run: () => save(store, entry, caption, { token, encoding: 'utf-8' }) } });
        else toast([error.message || t('dataset.offline'), error.todo].filter(Boolean).join(' '), { bad: true, seconds: 30, action: { label: t('dataset.try_again'), run: () => save(store, entry, caption, { token, encoding }) } });
        store.emit('entry', { entry });
    }
}

/** Both texts of a file that was changed while its caption was edited, and the choice between them. */
function conflict(store, entry, mine, error) {
    const { theirs, token } = error.values;
    let chosen = false;
    const keep = () => { chosen = true; save(store, entry, mine, { token }); };
    const take = () => {
        chosen = true;
        store.drafts.delete(entry.name);
        store.changed([entry.name], null);
    };
    const side = (title, text) => h('div', { class: 'room-version' }, h('h4', {}, title), h('p', {}, text || t('dataset.no_caption')));
    dialog(t('dataset.conflict'), h('div', {},
        h('p', {}, t('dataset.conflict_hint', { name: entry.name })),
        h('div', { class: 'room-versions' }, side(t('dataset.mine'), mine), side(t('dataset.theirs'), theirs ?? ''))),
    [[t('dataset.take_theirs'), take], [t('dataset.keep_mine'), keep, 'primary']], { wide: true, closed: () => chosen || store.changed([entry.name], null) });
}

export const oneLine = (text) => text.replace(/\s*[\r\n]+\s*/g, ' ').trim();
