// The open dataset, what is looked for in it and what is selected: the place where the parts of the room meet.
//
// Events: "opened" (another dataset, or the same one read anew), "info" (counts, concepts or state of reading), "changed" (files or
// captions; detail.names, or null where it may be any), "entry" (one picture; detail.entry), "query", "buckets" (the rule of
// buckets), "found" (how many the query finds), "selection", "history", "panel" (show the section detail.id), "proposed" (a bulk
// edit), "size" (of the thumbnails; detail.size), "show" (bring the picture detail.name into sight),
// "drawn" (the grid has drawn detail.entry into detail.cell), "redraw" (it shall do so again), "training" (what shall be trained with).

import { get, post } from './api.js';

const MANY = 200;
/** Pictures from which on the small ones are made ahead, before they come into sight. */

export const NOTHING_ASKED = {
    text: '', tags: [], without: [], concept: null, bucket: null, uncaptioned: false, excluded: false, finding: null, problem: false, masked: false,
    sort: 'name',
};

export class Store {
    /** Name of the open dataset as `POST /open` takes it; null while none is open. */
    dataset = null;
    /** The answer of `POST /open`. */
    info = null;
    query = { ...NOTHING_ASKED };
    /** Names of the selected pictures. */
    selection = new Set();
    #drafts = new Map();
    /** A bulk edit that some part of the room proposes. */
    proposed = null;
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

    /** Captions of the open dataset that are not saved yet, by name. */
    get drafts() {
        if (!this.#drafts.has(this.dataset)) this.#drafts.set(this.dataset, new Map());
        return this.#drafts.get(this.dataset);
    }

    get readOnly() {
        return this.info?.read_only ?? true;
    }

    /** Opens a dataset; throws what the server refuses. */
    async open(dataset) {
        const info = await post('open', { dataset });
        Object.assign(this, { dataset: info.dataset, info, query: { ...NOTHING_ASKED }, found: 0, proposed: null });
        this.selection.clear();
        this.emit('opened');
        this.emit('selection');
        if (info.total > MANY) post('thumbs', { dataset: info.dataset }).catch(() => {});  // they come one by one then
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

    /** Whether anything is looked for. */
    get filtered() {
        const { sort, rule, ...asked } = this.query, { sort: usual, ...nothing } = NOTHING_ASKED;
        return JSON.stringify(asked) !== JSON.stringify(nothing);
    }

    /** Shows all pictures again, in the same order. */
    clearQuery() {
        const { sort, rule } = this.query;
        this.setQuery({ ...NOTHING_ASKED, sort, ...(rule && { rule }) });
    }

    /** By which rule pictures are put into buckets: {resolution, minimum, maximum, step, no_upscale}, as `query.rule`. */
    setRule(rule) {
        if (JSON.stringify(rule) === JSON.stringify(this.query.rule)) return;
        this.query = { ...this.query, rule };
        this.emit('buckets');
    }

    /** Proposes a bulk edit: the section of edits shows it, with what it would change. */
    propose(edit) {
        this.proposed = edit;
        this.emit('panel', { id: 'edits' });
        this.emit('proposed');
    }

    /** To be called after every change that the server has made: its `names` (null for any) and the `history` it answered. */
    async changed(names, history) {
        if (this.info) Object.assign(this.info, history && { history }, { version: null });  // what is shown belongs to no version we know
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
