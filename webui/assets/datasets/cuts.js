// Draws over the pictures of the grid what training would cut off them.

import { post } from './api.js';
import { h } from './dom.js';
import { problem } from './notices.js';
import { wished } from './training.js';

const KEPT = 'atelier_show_cuts', WAIT = 60;
/** Name of a picture in sight that waits for its cut -> its place in the grid. */
const tiles = new Map();
let timer = null;

export const cutsOn = () => localStorage.getItem(KEPT) === 'yes';

/** Shows the cuts from now on, or no longer. */
export function showCuts(store, on) {
    localStorage.setItem(KEPT, on ? 'yes' : 'no');
    again(store);
}

/** Draws on every tile that the grid draws, while they are wanted. */
export function hook(store) {
    store.on('drawn', ({ cell, entry }) => draw(store, cell, entry));
    store.on('training', () => cutsOn() && again(store));
}

function again(store) {
    for (const cell of document.querySelectorAll('.room-tile[data-name]')) clear(cell);
    store.emit('redraw');
}

function draw(store, cell, entry) {
    if (!cutsOn() || !entry?.width) return clear(cell);
    if (cell.querySelector('.room-thumb .room-cut')) return;
    tiles.set(entry.name, cell);
    clearTimeout(timer);
    timer = setTimeout(() => ask(store).catch(problem), WAIT);
}

async function ask(store) {
    const asked = new Map(tiles), { dataset } = store;
    tiles.clear();
    const placed = await post('crops', { ...wished(), dataset, names: [...asked.keys()] });
    for (const [name, cell] of asked) {
        if (cutsOn() && placed[name] && cell.dataset.name === name) lay(cell, placed[name]);
    }
}

/** The thumbnail shows the whole picture inside a square; the frame stands on what stays of it. */
function lay(cell, { crop: [left, top, right, bottom], size: [width, height] }) {
    clear(cell);
    if (right - left > width - 1 && bottom - top > height - 1) return;
    const side = Math.max(width, height), x = (side - width) / 2, y = (side - height) / 2, percent = (value) => `${(100 * value) / side}%`;
    const frame = h('i', { style: `left: ${(100 * left) / width}%; top: ${(100 * top) / height}%; width: ${(100 * (right - left)) / width}%; height: ${(100 * (bottom - top)) / height}%` });
    cell.querySelector('.room-thumb').append(h('span', { class: 'room-cut', 'aria-hidden': 'true', style: `left: ${percent(x)}; top: ${percent(y)}; width: ${percent(width)}; height: ${percent(height)}` }, frame));
}

const clear = (cell) => cell.querySelector('.room-cut')?.remove();
