// The pictures in rows. Only the rows in sight are in the page, so that ten thousand pictures scroll like fifty.
//
// Keys: arrows, Home, End and page keys move; Shift extends; Space selects; Ctrl+A selects all; Enter or F2 edits the caption, Tab goes on
// to the next one; V looks at the picture; Del takes out (or brings back, among those taken out); Esc lets the selection go.

import { post } from './api.js';
import { edit } from './caption.js';
import { button, composing, fill, h, icon } from './dom.js';
import { done } from './history.js';
import { problem } from './notices.js';
import { Pages } from './pages.js';
import { draw, tile } from './tile.js';
import * as upload from './upload.js';
import * as viewer from './viewer.js';
import { t } from './words.js';

/** px between tiles, of the text below a picture and of the bar of the selection; rows drawn beyond the edges. */
const GAP = 14, TEXT = 92, BAR = 70, OVERSCAN = 2;
const SIZE = 'atelier_tile', USUAL_SIZE = 190;
/** px of the width of a telephone, on which two pictures fit side by side, and of a picture that shall have it for itself. */
const NARROW = 520, LARGE = 260;
const COARSE = matchMedia('(pointer: coarse)');

export function mount(element, store) {
    new Grid(element, store);
}

class Grid {
    constructor(element, store) {
        this.store = store;
        this.rows = new Map();
        this.size = Number(localStorage.getItem(SIZE)) || USUAL_SIZE;
        Object.assign(this, { cursor: 0, anchor: 0, columns: 1, rowHeight: 1, tileWidth: 1, editing: null, stale: false });
        this.canvas = h('div', { class: 'room-canvas', role: 'grid', 'aria-multiselectable': 'true', 'aria-label': t('dataset.grid') });
        this.nothing = h('div', { class: 'room-nothing', hidden: true });
        this.scroller = h('div', { class: 'room-scroller', tabIndex: -1 }, this.canvas, this.nothing);
        fill(element, this.scroller);
        this.pages = new Pages(store, (news) => this.arrived(news), problem);
        this.listen();
    }

    listen() {
        const { store, canvas, scroller } = this;
        let waiting = false;
        scroller.addEventListener('scroll', () => {
            if (!waiting) requestAnimationFrame(() => { waiting = false; this.show(); });
            waiting = true;
        }, { passive: true });
        new ResizeObserver(() => this.layout()).observe(scroller);
        canvas.addEventListener('click', (event) => this.click(event));
        canvas.addEventListener('dblclick', (event) => event.target.closest('.room-thumb') && this.look(this.indexAt(event)));
        canvas.addEventListener('keydown', (event) => this.key(event));
        canvas.addEventListener('focusin', (event) => this.focused(event));
        store.on('opened', () => this.renew());
        store.on('query', () => this.renew());
        store.on('changed', () => this.reload());
        store.on('buckets', () => this.reload());
        store.on('info', () => this.sayNothing());
        store.on('entry', ({ entry }) => this.redraw(this.pages.replace(entry)));
        store.on('selection', () => this.showSelection());
        store.on('redraw', () => this.redrawAll());
        store.on('size', ({ size }) => this.resize(size));
        store.on('show', ({ name }) => this.goTo(name));
    }

    // ---- what is shown ----

    /** Another dataset or other filters: from the beginning. */
    renew() {
        this.editing?.();
        Object.assign(this, { cursor: 0, anchor: 0, stale: false });
        this.pages.reset();
        this.clear();
        this.scroller.scrollTop = 0;
        this.nothing.hidden = true;
        if (this.store.dataset) this.pages.need(0, 0);
    }

    /** The same pictures, whose captions or files have changed. Waits while somebody types. */
    reload() {
        if (this.editing) {
            this.stale = true;
            return;
        }
        this.stale = false;
        this.pages.reset({ keep: true });
        if (this.store.dataset) this.need();
    }

    arrived({ first, count, total }) {
        const other = this.store.found !== total || !this.rows.size, focus = this.canvas.contains(document.activeElement);
        this.store.found = total;
        if (other) {
            this.layout();
            this.store.emit('found');
        }
        for (let index = first; index < first + count; index++) this.redraw(index);
        this.cursor = Math.max(0, Math.min(this.cursor, total - 1));
        this.sayNothing();
        this.show();
        if (focus && !this.canvas.contains(document.activeElement)) this.keepFocus();
    }

    /** The picture that the keyboard was at has gone: the one in its place has it now, so that the keys go on being heard. */
    keepFocus() {
        if (this.store.found) this.focus(this.cursor);
        else this.scroller.focus();
    }

    sayNothing() {
        const { store, nothing } = this, empty = store.dataset && store.found === 0 && store.info.whole;
        nothing.hidden = !empty;
        if (!empty) return;
        if (store.info.total + store.info.excluded > 0) {
            fill(nothing, h('strong', {}, t('dataset.none_found')), button(t('dataset.clear_filters'), () => store.clearQuery()));
            return;
        }
        fill(nothing, h('div', { class: 'room-invitation' }, icon('upload'), h('strong', {}, t('dataset.empty')), h('span', {}, t('dataset.drop_what')),
            button(t('dataset.add'), () => upload.choose(store), { kind: 'primary', icon: 'plus' })));
    }

    clear() {
        for (const row of this.rows.values()) row.remove();
        this.rows.clear();
    }

    resize(size) {
        this.size = size;
        localStorage.setItem(SIZE, size);
        this.layout();
    }

    /** How many pictures go into a row, and where the rows lie. The first picture in sight stays in sight. */
    layout() {
        const { scroller, canvas } = this, width = canvas.clientWidth;
        if (!width) return;
        const first = Math.floor(scroller.scrollTop / this.rowHeight) * this.columns;
        const size = width < NARROW && this.size <= LARGE ? Math.min(this.size, (width - GAP) / 2) : this.size;
        const columns = Math.max(1, Math.floor((width + GAP) / (size + GAP)));
        const tileWidth = (width - GAP * (columns - 1)) / columns, rowHeight = Math.round(tileWidth) + TEXT + GAP;
        const moved = columns !== this.columns || rowHeight !== this.rowHeight;
        Object.assign(this, { columns, tileWidth, rowHeight });
        const rows = Math.ceil(this.store.found / columns);
        canvas.style.height = `${rows * rowHeight}px`;
        canvas.style.setProperty('--tile', `${tileWidth}px`);
        canvas.style.setProperty('--text', `${TEXT}px`);
        canvas.setAttribute('aria-rowcount', rows);
        canvas.setAttribute('aria-colcount', columns);
        if (moved && !this.editing) {
            const focus = canvas.contains(document.activeElement);
            this.clear();
            scroller.scrollTop = Math.floor(first / columns) * rowHeight;
            this.show();
            if (focus) this.focus(this.cursor);
        } else this.show();
    }

    /** [first, last] row in sight and a little beyond. */
    inSight() {
        const { scrollTop, clientHeight } = this.scroller, last = Math.ceil(this.store.found / this.columns) - 1;
        return [Math.max(0, Math.floor(scrollTop / this.rowHeight) - OVERSCAN), Math.min(last, Math.floor((scrollTop + clientHeight) / this.rowHeight) + OVERSCAN)];
    }

    need() {
        const [first, last] = this.inSight();
        this.pages.need(first * this.columns, Math.max(first, last) * this.columns);
    }

    show() {
        const [first, last] = this.inSight(), used = Math.floor(this.cursor / this.columns);
        const held = this.canvas.contains(document.activeElement) ? used : -1;
        for (const [row, element] of this.rows) {
            const within = row * this.columns < this.store.found;
            if ((row >= first && row <= last && within) || (row === held && within)) continue;
            element.remove();
            this.rows.delete(row);
        }
        for (let row = first; row <= last; row++) if (!this.rows.has(row)) this.addRow(row);
        for (const [row, element] of this.rows) this.fillRow(row, element);
        if (last >= first) this.pages.need(first * this.columns, (last + 1) * this.columns - 1);
    }

    addRow(row) {
        const element = h('div', { class: 'room-row', role: 'row', 'aria-rowindex': row + 1, style: `transform: translateY(${row * this.rowHeight}px)` });
        const after = [...this.rows.keys()].filter((each) => each > row).sort((a, b) => a - b)[0];
        this.canvas.insertBefore(element, after === undefined ? null : this.rows.get(after));  // the order in which one hears them
        this.rows.set(row, element);
    }

    fillRow(row, element) {
        const first = row * this.columns, count = Math.min(this.columns, this.store.found - first);
        while (element.childElementCount > count) element.lastChild.remove();
        for (let at = element.childElementCount; at < count; at++) {
            element.append(tile(first + at));
            this.redraw(first + at);
        }
    }

    cell(index) {
        return this.rows.get(Math.floor(index / this.columns))?.children[index % this.columns];
    }

    redraw(index) {
        const cell = index < 0 ? null : this.cell(index);
        if (!cell || cell.classList.contains('editing')) return;
        draw(cell, this.pages.at(index), this.store);
        this.store.emit('drawn', { cell, entry: this.pages.at(index) });
        cell.tabIndex = index === this.cursor ? 0 : -1;
        cell.setAttribute('aria-selected', this.store.selection.has(cell.dataset.name));
    }

    redrawAll() {
        for (const row of this.rows.values()) for (const cell of row.children) this.redraw(Number(cell.dataset.index));
    }

    showSelection() {
        const { selection } = this.store;
        for (const row of this.rows.values()) for (const cell of row.children) cell.setAttribute('aria-selected', selection.has(cell.dataset.name));
        this.scroller.classList.toggle('selecting', selection.size > 0);
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

    /** Brings a picture into sight and the keyboard to it. */
    focus(index) {
        this.cell(this.cursor)?.setAttribute('tabindex', -1);
        this.cursor = index;
        const { scroller } = this, top = Math.floor(index / this.columns) * this.rowHeight, bottom = top + this.rowHeight - GAP;
        const height = scroller.clientHeight - (this.store.selection.size ? BAR : 0);
        if (top < scroller.scrollTop) scroller.scrollTop = top;
        else if (bottom > scroller.scrollTop + height) scroller.scrollTop = bottom - height;
        this.show();
        const cell = this.cell(index);
        if (!cell) return;
        cell.tabIndex = 0;
        cell.focus({ preventScroll: true });
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
