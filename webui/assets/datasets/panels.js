// The sections beside the pictures, one at a time. Each is a module that exports mount(element, store, tell); it is loaded when its
// section is first shown.

import { fill, h, icon } from './dom.js';
import { problem } from './notices.js';
import { t } from './words.js';

export const PANELS = [
    { id: 'tags', title: 'dataset.panel.tags', icon: 'tag', load: () => import('./tags.js') },
    { id: 'edits', title: 'dataset.panel.edits', icon: 'edit', load: () => import('./bulk.js') },
    { id: 'check', title: 'dataset.panel.check', icon: 'check', load: () => import('./findings.js') },
    { id: 'buckets', title: 'dataset.panel.buckets', icon: 'frames', load: () => import('./buckets.js') },
    { id: 'concepts', title: 'dataset.panel.concepts', icon: 'layers', load: () => import('./concepts.js') },
];
const NARROW = matchMedia('(max-width: 900px)');
const FIRST = 'tags';

/** `store.emit("panel", {id})` shows a section. */
export function mount(element, store, tell) {
    const tabs = new Map(), bodies = new Map(), holder = h('div', { class: 'room-panels' });
    let shown = null;

    const show = (id) => {
        shown = id;
        for (const [each, tab] of tabs) {
            tab.setAttribute('aria-selected', each === id);
            tab.tabIndex = each === (id ?? FIRST) ? 0 : -1;
        }
        for (const [each, body] of bodies) body.hidden = each !== id;
        holder.hidden = id === null;
        if (id && !bodies.has(id)) load(id);
    };
    const load = async (id) => {
        const panel = PANELS.find((each) => each.id === id), title = t(panel.title);
        const body = h('section', { class: 'room-panel', role: 'tabpanel', id: `room-panel-${id}`, 'aria-label': title });
        bodies.set(id, body);
        holder.append(body);
        try {
            (await panel.load()).mount(body, store, tell);
        } catch (error) {
            bodies.delete(id);
            body.remove();
            problem(error);
        }
    };
    const turn = (event) => {
        const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
        if (!step) return;
        event.preventDefault();
        const at = PANELS.findIndex((each) => tabs.get(each.id) === event.target), next = PANELS.at((at + step) % PANELS.length).id;
        show(next);
        tabs.get(next).focus();
    };
    for (const { id, title, icon: sign } of PANELS) {
        const close = () => NARROW.matches && shown === id;
        tabs.set(id, h('button', { type: 'button', role: 'tab', class: 'room-tab', 'aria-controls': `room-panel-${id}`, onclick: () => show(close() ? null : id) },
            icon(sign), h('span', {}, t(title))));
    }
    fill(element, h('div', { class: 'room-tabs', role: 'tablist', 'aria-label': t('dataset.panel.all'), onkeydown: turn }, [...tabs.values()]), holder);
    store.on('panel', ({ id }) => show(id));
    // A section is drawn for the dataset that is open, so the first one waits for it.
    const stop = store.on('opened', () => {
        if (!store.dataset) return;
        stop();
        show(NARROW.matches ? null : FIRST);
    });
}
