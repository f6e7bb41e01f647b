// The room of a dataset: its parts, what they hang on, and how it talks to the page around it.
//
// mount(element, tell): `tell(kind, detail)` reports to the page: "opened" {dataset}, "train" {dataset}, and
// "caption" {dataset, names} (the visitor wants captions made). window.atelierDataset = {dataset, names()} says what is open; a
// window event "atelier:dataset" {dataset, open?} has it read anew, or with `open` another one opened.

import { address } from './api.js';
import * as cuts from './cuts.js';
import { composing, fill, h } from './dom.js';
import * as filters from './filters.js';
import * as grid from './grid.js';
import * as head from './head.js';
import * as history from './history.js';
import * as notices from './notices.js';
import * as panels from './panels.js';
import * as selected from './selected.js';
import * as start from './start.js';
import { Store } from './store.js';
import { follow } from './training.js';
import * as upload from './upload.js';
import * as words from './words.js';

const SHEETS = ['room', 'arriving', 'viewer', 'checks'];
const LAST = 'atelier_dataset';
const SECONDS_BETWEEN_LOOKS = 2;

export async function mount(element, tell = () => {}) {
    for (const sheet of SHEETS) document.head.append(h('link', { rel: 'stylesheet', href: address(`assets/${sheet}.css`) }));
    await words.load();
    const store = new Store(), room = h('section', { class: 'room' });
    fill(element, room);
    notices.install(room);
    build(room, store, tell);
    keepFresh(store);
    history.watch(store);
    upload.mount(room, store);
    cuts.hook(store);
    follow(store);
    await begin(room, store);
    return store;
}

function build(room, store, tell) {
    const begin = h('div', { class: 'room-start' }), work = h('div', { class: 'room-work', hidden: true });
    const parts = Object.fromEntries(['head', 'filters', 'pictures', 'selected', 'side'].map((name) => [name, h('div', { class: `room-${name}` })]));
    work.append(parts.head, parts.filters, h('div', { class: 'room-body' }, h('div', { class: 'room-main' }, parts.pictures, parts.selected), parts.side));
    room.append(begin, work);
    start.mount(begin, store);
    head.mount(parts.head, store, tell);
    filters.mount(parts.filters, store);
    grid.mount(parts.pictures, store);
    selected.mount(parts.selected, store, tell);
    panels.mount(parts.side, store, tell);
    let known = null;  // the trigger word that the page knows of
    const report = () => {
        known = store.info?.trigger ?? null;
        tell('opened', { dataset: store.dataset });
    };
    store.on('opened', () => {
        begin.hidden = store.dataset !== null;
        work.hidden = store.dataset === null;
        localStorage.setItem(LAST, store.dataset ?? '');
        report();
    });
    store.on('info', () => store.info.trigger !== known && report());
    room.addEventListener('keydown', (event) => keys(event, store));
    window.atelierDataset = {
        get dataset() { return store.dataset; },
        names: () => [...store.selection],
    };
}

/** Keys that hold everywhere in the room, outside of fields. */
function keys(event, store) {
    const typing = event.target.closest('input:not([type=checkbox], [type=range]), textarea, select');
    if (composing(event) || typing || event.altKey || !(event.ctrlKey || event.metaKey)) return;
    const key = event.key.toLowerCase();
    if (key === 's') event.preventDefault();  // everything is saved already
    else if (key === 'y' || (key === 'z' && event.shiftKey)) { event.preventDefault(); history.redo(store); }
    else if (key === 'z') { event.preventDefault(); history.undo(store); }
}

/** Looks at the files again: often while they are still being read, else when the visitor comes back or a job has changed them. */
function keepFresh(store) {
    const look = () => store.refresh().catch((error) => error.code === 'page.offline' || notices.problem(error));
    setInterval(() => store.info && !store.info.whole && !document.hidden && look(), SECONDS_BETWEEN_LOOKS * 1000);
    window.addEventListener('focus', look);
    window.addEventListener('atelier:dataset', ({ detail }) => {
        if (detail?.open && detail.dataset !== store.dataset) store.open(detail.dataset).catch(notices.problem);
        else look();
    });
}

/** Opens what was open last, if it is still there; else shows what there is. */
async function begin(room, store) {
    const last = localStorage.getItem(LAST);
    try {
        if (last) return await store.open(last);
    } catch { /* it has gone */ }
    store.close();
}
