// The open dataset, what is looked for in it and what is selected: the place where the parts of the room meet.
//
// Events: "opened" (another dataset, or the same one read anew), "info" (counts, concepts or state of reading), "changed" (files or
// captions; detail.names, or null where it may be any), "query", "selection", "history".

import { get, post } from './api.js';

export const NOTHING_ASKED = {
    text: '', tags: [], without: [], concept: null, bucket: null, uncaptioned: false, excluded: false, finding: null, sort: 'name',
};

export class Store {
    /** Name of the open dataset as `POST /open` takes it; null while none is open. */
    dataset = null;
    /** The answer of `POST /open`. */
    info = null;
    query = { ...NOTHING_ASKED };
    /** Names of the selected pictures. */
    selection = new Set();
    /** Captions that could not be saved yet, by name. */
    drafts = new Map();
    /** How many pictures the query finds; the grid keeps it. */
    found = 0;
    #events = new EventTarget();
    #reading = 0;

    /** Calls `work(detail)` at each event; returns what ends it. */
    on(event, work) {
        const heard = ({ detail }) => work(detail);
        this.#events.addEventListener(event, heard);
        return () => this.#events.removeEventListener(event, heard);
    }

    emit(event, detail = {}) {
        this.#events.dispatchEvent(new CustomEvent(event, { detail }));
    }

    get readOnly() {
        return this.info?.read_only ?? true;
    }

    /** Opens a dataset; throws what the server refuses. */
    async open(dataset) {
        const info = await post('open', { dataset });
        Object.assign(this, { dataset: info.dataset, info, query: { ...NOTHING_ASKED }, found: 0 });
        this.selection.clear();
        this.emit('opened');
        this.emit('selection');
    }

    /** Closes it: the room shows all datasets. */
    close() {
        Object.assign(this, { dataset: null, info: null, query: { ...NOTHING_ASKED }, found: 0 });
        this.selection.clear();
        this.emit('opened');
        this.emit('selection');
    }

    /** Asks again how the open dataset is; what changed on disk meanwhile is told as "changed". */
    async refresh() {
        const dataset = this.dataset, turn = ++this.#reading;
        if (!dataset) return;
        const info = await post('open', { dataset });
        if (turn !== this.#reading || dataset !== this.dataset) return;
        const before = this.info;
        this.info = info;
        this.emit('info');
        if (JSON.stringify(before.history) !== JSON.stringify(info.history)) this.emit('history');
        if (before.version !== info.version) this.emit('changed', { names: null });
    }

    /** Looks for something else: `part` replaces the fields of the query that it names. */
    setQuery(part) {
        const next = { ...this.query, ...part };
        if (JSON.stringify(next) === JSON.stringify(this.query)) return;
        this.query = next;
        this.emit('query');
    }

    /** To be called after every change that the server has made: its `names` (null for any) and the `history` it answered. */
    async changed(names, history) {
        if (history && this.info) this.info.history = history;
        this.emit('changed', { names });
        this.emit('history');
        await this.refresh();
    }

    select(names) {
        this.selection = new Set(names);
        this.emit('selection');
    }

    /** The selection, or where there is none everything that the query finds. */
    async names() {
        if (this.selection.size) return [...this.selection];
        return (await post('names', { dataset: this.dataset, query: this.query })).names;
    }

    list() {
        return get('list');
    }
}
