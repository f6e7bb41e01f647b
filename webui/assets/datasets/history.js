// Taking back and doing again, over everything that was ever done to the dataset.

import { post } from './api.js';
import { problem, toast } from './notices.js';
import { known, t } from './words.js';

export const undo = (store) => step(store, 'undo');
export const redo = (store) => step(store, 'redo');

/** What a step of the journal is called: it has a label, which may be a word of ours, and the values in it. */
export function named(entry) {
    if (!entry) return '';
    const key = `dataset.did.${entry.label}`;
    return known(key) ? t(key, entry.values) : entry.label;
}

/** The notice about the last step. It goes when another step is the last, which its button would take back instead. */
let notice = { close: () => {}, of: '' };

/** Says what was done, with a button that takes it back. `history` is what the server answered. */
export function done(store, text, history = store.info.history, action = { label: t('dataset.undo'), run: () => undo(store) }) {
    notice.close();
    notice = { close: toast(text, { action }), of: JSON.stringify(history) };
}

/** Keeps the notice true. */
export function watch(store) {
    store.on('history', () => JSON.stringify(store.info?.history) === notice.of || notice.close());
}

async function step(store, way) {
    if (!store.info?.history?.[way]) return;
    try {
        const told = await post(way, { dataset: store.dataset });
        const other = way === 'undo' ? { label: t('dataset.redo'), run: () => redo(store) } : { label: t('dataset.undo'), run: () => undo(store) };
        done(store, t(`dataset.${way}_done`, { what: named(told) }), told.history, other);
        await store.changed(told.names, told.history);
    } catch (error) {
        problem(error);
        store.refresh().catch(() => {});
    }
}
