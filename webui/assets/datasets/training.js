// What the pictures shall be trained with, as the visitor wishes it: one answer for the bucket preview, the check and the viewer.
// Sides in px; 0 is the model's own. It is remembered in the browser.

import { post } from './api.js';
import { problem } from './notices.js';

const KEPT = 'atelier_trained_with';
export const USUAL = { model: 'starter', resolution: 0, minimum: 0, maximum: 0, step: 0, no_upscale: false, batch_size: 1 };

let wish = null;

export function wished() {
    if (wish) return wish;
    try {
        const kept = JSON.parse(localStorage.getItem(KEPT) ?? '{}');
        wish = Object.fromEntries(Object.entries(USUAL).map(([name, usual]) => [name, typeof kept[name] === typeof usual ? kept[name] : usual]));
    } catch {
        wish = { ...USUAL };
    }
    return wish;
}

/** Changes some of it. Whoever shows it hears "training" from the store. */
export function wishFor(store, part) {
    wish = { ...wished(), ...part };
    localStorage.setItem(KEPT, JSON.stringify(wish));
    store.emit('training');
}

/** The same in the words of a check's settings. */
export function checkSettings() {
    const { minimum, maximum, step, ...same } = wished();
    return { ...same, bucket_min: minimum, bucket_max: maximum, bucket_step: step };
}

/** Has the grid sort its pictures into the buckets that follow from the wish. */
export function follow(store) {
    const rule = async () => {
        const { dataset } = store;
        if (!dataset) return;
        try {
            const found = await post('rule', { ...wished(), dataset });
            if (dataset === store.dataset) store.setRule(found);
        } catch (error) {
            if (error.code?.startsWith('model.')) wishFor(store, { model: USUAL.model });  // it has gone meanwhile
            else problem(error);
        }
    };
    store.on('opened', rule);
    store.on('training', rule);
}
