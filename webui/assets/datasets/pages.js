// The pictures that the query finds, fetched a hundred at a time as they come into sight.

import { post } from './api.js';

const COUNT = 100;

export class Pages {
    #store;
    #entries = new Map();
    #asked = new Set();
    #calls = new AbortController();
    #names = null;
    total = 0;

    /** `arrived({first, count, total})` is told what has come, `failed(error)` what has not. */
    constructor(store, arrived, failed) {
        this.#store = store;
        this.arrived = arrived;
        this.failed = failed;
    }

    /** Forgets everything, or with `keep` only that it is up to date: what is there stays until it comes anew. */
    reset({ keep = false } = {}) {
        this.#calls.abort();
        this.#calls = new AbortController();
        this.#asked.clear();
        this.#names = null;
        if (!keep) {
            this.#entries.clear();
            this.total = 0;
        }
    }

    at(index) {
        return this.#entries.get(index);
    }

    /** Puts another state of an entry in its place; returns where that is, or -1. */
    replace(entry) {
        for (const [index, { name }] of this.#entries) {
            if (name !== entry.name) continue;
            this.#entries.set(index, entry);
            return index;
        }
        return -1;
    }

    indexOf(name) {
        for (const [index, entry] of this.#entries) if (entry.name === name) return index;
        return -1;
    }

    /** Sees to it that the entries from `first` to `last` are fetched. */
    need(first, last) {
        for (let page = Math.floor(Math.max(0, first) / COUNT); page <= Math.floor(Math.max(0, last) / COUNT); page++) {
            if (this.#asked.has(page)) continue;
            this.#asked.add(page);
            this.#fetch(page, this.#calls.signal);
        }
    }

    /** All names in their order. */
    async names() {
        this.#names ??= post('names', { dataset: this.#store.dataset, query: this.#store.query }).then(({ names }) => names);
        return this.#names;
    }

    async #fetch(page, signal) {
        const start = page * COUNT;
        try {
            const found = await post('page', { dataset: this.#store.dataset, query: this.#store.query, start, count: COUNT }, { signal });
            if (signal.aborted) return;
            this.total = found.total;
            for (const index of [...this.#entries.keys()]) if (index >= found.total) this.#entries.delete(index);
            found.entries.forEach((entry, at) => this.#entries.set(start + at, entry));
            this.arrived({ first: start, count: found.entries.length, total: found.total });
        } catch (error) {
            if (signal.aborted) return;
            this.#asked.delete(page);
            this.failed(error);
        }
    }
}
