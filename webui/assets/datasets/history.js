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

/** Says what was done, with a button that takes it back. */
export function done(store, text) {
    toast(text, { action: { label: t('dataset.undo'), run: () => undo(store) } });
}

async function step(store, way) {
    if (!store.info?.history?.[way]) return;
    try {
        const told = await post(way, { dataset: store.dataset });
        const other = way === 'undo' ? { label: t('dataset.redo'), run: () => redo(store) } : { label: t('dataset.undo'), run: () => undo(store) };
        toast(t(`dataset.${way}_done`, { what: named(told) }), { action: other, seconds: 5 });
        await store.changed(told.names, told.history);
    } catch (error) {
        problem(error);
        store.refresh().catch(() => {});
    }
}
