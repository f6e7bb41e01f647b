// The pictures of the dataset under the visitor's hands: mouse, touch and keyboard, selecting, editing, taking out.
//
// Keys: arrows, Home, End and page keys move; Shift extends; Space selects; Ctrl+A selects all; Enter or F2 edits the caption, Tab goes on
// to the next one; V looks at the picture; Del takes out (or brings back, among those taken out); Esc lets the selection go.

import { post } from './api.js';
import { edit } from './caption.js';
import { composing } from './dom.js';
import { done } from './history.js';
import { problem } from './notices.js';
import { Rows } from './rows.js';
import * as viewer from './viewer.js';
import { t } from './words.js';

const COARSE = matchMedia('(pointer: coarse)');

export function mount(element, store) {
    new Grid(element, store);
}

class Grid extends Rows {
    /** Where a selection that Shift extends begins. */
    anchor = 0;

    constructor(element, store) {
        super(element, store);
        const { canvas } = this;
        canvas.addEventListener('click', (event) => this.click(event));
        canvas.addEventListener('dblclick', (event) => event.target.closest('.room-thumb') && this.look(this.indexAt(event)));
        canvas.addEventListener('keydown', (event) => this.key(event));
        canvas.addEventListener('focusin', (event) => this.focused(event));
        store.on('show', ({ name }) => this.goTo(name));
    }

    renew() {
        this.anchor = 0;
        super.renew();
    }

    // ---- the mouse ----

    indexAt(event) {
        const cell = event.target.closest('.room-tile');
        return cell ? Number(cell.dataset.index) : -1;
    }

    click(event) {
        const index = this.indexAt(event), entry = this.pages.at(index);
        if (!entry || event.target.closest('.room-editor')) return;
        if (event.target.closest('.room-look')) return this.look(index);
        if (event.target.closest('.room-text') && !event.shiftKey && !event.ctrlKey && !event.metaKey) return this.edit(index);
        const toggles = event.ctrlKey || event.metaKey || event.target.closest('.room-check') || COARSE.matches;
        if (event.shiftKey) this.selectTo(index);
        else if (toggles) this.toggle(index);
        else this.selectOnly(index);
        this.focus(index);
    }

    focused(event) {
        const index = this.indexAt(event);
        if (index < 0 || index === this.cursor) return;
        this.cell(this.cursor)?.setAttribute('tabindex', -1);
        this.cursor = index;
        this.cell(index).tabIndex = 0;
    }

    // ---- the keyboard ----

    key(event) {
        if (composing(event) || event.target.closest('.room-editor') || event.altKey) return;
        const control = event.ctrlKey || event.metaKey, last = this.store.found - 1;
        const perPage = this.columns * Math.max(1, Math.floor(this.scroller.clientHeight / this.rowHeight));
        const at = this.cursor, row = at - (at % this.columns);
        const target = {
            ArrowLeft: at - 1, ArrowRight: at + 1, ArrowUp: at - this.columns, ArrowDown: at + this.columns,
            Home: control ? 0 : row, End: control ? last : Math.min(last, row + this.columns - 1), PageUp: at - perPage, PageDown: at + perPage,
        }[event.key];
        const work = {
            Enter: () => this.edit(at), F2: () => this.edit(at), ' ': () => this.toggle(at), v: () => this.look(at),
            Delete: () => this.takeOut(), Escape: () => this.store.select([]),
        };
        if (target !== undefined) this.move(target, event.shiftKey);
        else if (control && event.key.toLowerCase() === 'a') this.selectAll();
        else if (!control && work[event.key.length === 1 ? event.key.toLowerCase() : event.key]) work[event.key.length === 1 ? event.key.toLowerCase() : event.key]();
        else return;
        event.preventDefault();
    }

    move(target, extend) {
        const to = this.reachable(target);
        this.focus(to);
        if (extend) this.selectTo(to);
        else this.anchor = to;
    }

    /** Where a key leads: not beyond the ends. From the last full row down into a shorter one it is that one's end. */
    reachable(target) {
        const last = this.store.found - 1, row = (index) => Math.floor(index / this.columns);
        if (target >= 0 && target <= last) return target;
        const pages = Math.abs(target - this.cursor) > this.columns;
        if (target < 0) return pages ? 0 : this.cursor;
        return pages || row(this.cursor) < row(last) ? last : this.cursor;
    }

    async goTo(name) {
        try {
            const index = (await this.pages.names()).indexOf(name);
            if (index >= 0) this.focus(index);
        } catch (error) {
            problem(error);
        }
    }

    // ---- selecting ----

    toggle(index) {
        const entry = this.pages.at(index), chosen = new Set(this.store.selection);
        if (!entry) return;
        if (!chosen.delete(entry.name)) chosen.add(entry.name);
        this.anchor = index;
        this.store.select(chosen);
    }

    selectOnly(index) {
        const { name } = this.pages.at(index), { selection } = this.store;
        this.anchor = index;
        this.store.select(selection.size === 1 && selection.has(name) ? [] : [name]);
    }

    async selectTo(index) {
        const [first, last] = [Math.min(this.anchor, index), Math.max(this.anchor, index)];
        try {
            this.store.select((await this.pages.names()).slice(first, last + 1));
        } catch (error) {
            problem(error);
        }
    }

    async selectAll() {
        try {
            this.store.select(await this.pages.names());
        } catch (error) {
            problem(error);
        }
    }

    // ---- what is done to a picture ----

    edit(index) {
        const entry = this.pages.at(index);
        if (!entry || this.store.readOnly || this.editing) return;
        this.focus(index);
        this.editing = edit(this.cell(index), entry, this.store, (step) => {
            this.editing = null;
            this.redraw(index);
            const next = index + step;
            if (step === null || next < 0 || next >= this.store.found) this.caughtUp();
            else if (step) this.editAt(next);
            else { this.focus(index); this.caughtUp(); }
        });
    }

    /** Goes on editing at a picture that may still be on its way. */
    editAt(index) {
        this.focus(index);
        if (this.pages.at(index)) this.edit(index);
        else this.caughtUp();
    }

    caughtUp() {
        if (this.stale) this.reload();
    }

    look(index) {
        const entry = this.pages.at(index);
        if (entry) viewer.open(entry.name, this.store);
    }

    /** Takes the selection out of the dataset, or what the keyboard is at; among those taken out brings it back. */
    takeOut() {
        const { selection } = this.store, entry = this.pages.at(this.cursor);
        if (selection.size || entry) exclude(this.store, selection.size ? [...selection] : [entry.name]);
    }
}

/** Takes pictures out of the dataset or brings them back, whichever the query shows, with an undo in the notice. */
export async function exclude(store, names) {
    const back = store.query.excluded;
    if (store.readOnly || !names.length) return;
    try {
        const told = await post(back ? 'include' : 'exclude', { dataset: store.dataset, names });
        store.select([]);
        done(store, t(back ? 'dataset.included' : 'dataset.excluded', { count: names.length }), told.history);
        await store.changed(told.names, told.history);
    } catch (error) {
        problem(error);
    }
}
