// Sends files into a dataset, three at a time, as they lie on the disk. All of them get their places at the end, or none.

import { address, post, Refused, remove } from './api.js';
import { isArchive } from './dropped.js';

const AT_ONCE = 3;
const TRIES = 2;
/** Refusals that concern the whole upload; any other of an archive concerns the archive alone. */
const OF_ALL = ['incoming.ended', 'incoming.too_much', 'incoming.too_many', 'incoming.disk_full', 'dataset.read_only'];

export class Sending {
    #stopped = new AbortController();
    #upload = null;
    #sent = new Map();
    done = 0;
    refused = [];

    /** `files` as in dropped.js; `progress()` is called whenever `done` (files) or `bytes` has changed. */
    constructor(dataset, files, progress) {
        Object.assign(this, { dataset, files, progress, size: files.reduce((sum, { file }) => sum + file.size, 0) });
    }

    get bytes() {
        return [...this.#sent.values()].reduce((sum, each) => sum + each, 0);
    }

    /** Sends everything; returns the report, with `refused` archives in it. Throws what ends the upload; nothing has come in then. */
    async run() {
        const begun = await post('uploads', { dataset: this.dataset }, { signal: this.#stopped.signal });
        this.#upload = begun.upload;
        const waiting = [...this.files], wanted = (name) => begun.endings.some((ending) => name.toLowerCase().endsWith(ending));
        const worker = async () => {
            for (let each; (each = waiting.shift()); this.done++, this.progress()) await this.#send(each, wanted(each.name));
        };
        try {
            await Promise.all(Array.from({ length: AT_ONCE }, worker));
            const report = await post(`uploads/${this.#upload}`, { clash: 'keep_both' }, { signal: this.#stopped.signal });
            return { ...report, refused: this.refused };
        } catch (error) {
            this.cancel();
            throw error;
        }
    }

    /** Gives it up: nothing comes in. */
    cancel() {
        this.#stopped.abort();
        if (this.#upload) remove(`uploads/${this.#upload}`).catch(() => {});  // it may have ended by itself
        this.#upload = null;
    }

    /** What may not come in is sent without its bytes: its name is enough for the report to say why. */
    async #send({ name, file }, wanted) {
        const archive = isArchive(name), url = address(`uploads/${this.#upload}${archive ? '/archive' : ''}`, { name });
        for (let tried = 1; ; tried++) {
            try {
                return await this.#put(url, wanted ? file : new Blob([]), (bytes) => { this.#sent.set(name, bytes); this.progress(); }, file.size);
            } catch (error) {
                if (error.name === 'AbortError') throw error;
                if (archive && error.status && !OF_ALL.includes(error.code)) return this.refused.push({ name, reason: [error.message, error.todo].filter(Boolean).join(' ') });
                if (error.status || tried === TRIES) throw error;
            }
        }
    }

    /** A PUT that tells how far it is, which `fetch` cannot. */
    #put(url, body, sent, size) {
        return new Promise((resolve, reject) => {
            const call = new XMLHttpRequest(), { signal } = this.#stopped, abort = () => call.abort();
            const told = (status) => new Refused(status, call.response ?? { code: 'page.offline', message: '' });
            signal.addEventListener('abort', abort);
            call.open('PUT', url);
            call.responseType = 'json';
            call.setRequestHeader('content-type', 'application/octet-stream');
            call.upload.addEventListener('progress', (event) => sent(event.loaded));
            call.addEventListener('loadend', () => signal.removeEventListener('abort', abort));
            call.addEventListener('load', () => {
                if (call.status >= 400) return reject(told(call.status));
                sent(size);
                resolve(call.response);
            });
            call.addEventListener('error', () => reject(told(0)));
            call.addEventListener('abort', () => reject(new DOMException('given up', 'AbortError')));
            if (signal.aborted) return reject(new DOMException('given up', 'AbortError'));
            call.send(body);
        });
    }
}
