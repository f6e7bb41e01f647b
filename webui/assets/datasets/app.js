// The room of a dataset: its parts, what they hang on, and how it talks to the page around it.
//
// mount(element, tell): `tell(kind, detail)` reports to the page: "opened" {dataset}, "selection" {names}, "train" {dataset}.
// window.atelierDataset = {dataset, names()} says what is open; a window event "atelier:dataset" {dataset} has it read anew.

import { address } from './api.js';
import { fill, h } from './dom.js';
import * as notices from './notices.js';
import { Store } from './store.js';
import * as words from './words.js';

/** The sections beside the pictures. Each module exports mount(element, store) and is loaded when its section is first shown. */
export const PANELS = [
    { id: 'tags', title: 'dataset.panel.tags', icon: 'tag', module: './tags.js' },
    { id: 'edits', title: 'dataset.panel.edits', icon: 'edit', module: './bulk.js' },
    { id: 'check', title: 'dataset.panel.check', icon: 'check', module: './findings.js' },
    { id: 'buckets', title: 'dataset.panel.buckets', icon: 'frames', module: './buckets.js' },
    { id: 'concepts', title: 'dataset.panel.concepts', icon: 'layers', module: './concepts.js' },
];

export async function mount(element, tell = () => {}) {
    document.head.append(h('link', { rel: 'stylesheet', href: address('assets/room.css') }));
    await words.load();
    const store = new Store(), room = h('section', { class: 'room' });
    fill(element, room);
    notices.install(room);
    (await import('./upload.js')).mount(room, store);
    return store;
}
