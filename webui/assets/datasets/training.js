// What the pictures shall be trained with, as the visitor wishes it: one answer for the bucket preview, the check and the viewer.
// Sides in px; 0 is the model's own. It is remembered in the browser.

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
