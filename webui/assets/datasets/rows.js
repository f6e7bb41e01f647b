// Rows of pictures of which only those in sight are in the page, so that ten thousand scroll like fifty.

import { button, fill, h, icon } from './dom.js';
import { problem } from './notices.js';
import { Pages } from './pages.js';
import { draw, tile } from './tile.js';
import * as upload from './upload.js';
import { t } from './words.js';

/** px between tiles, of the text below a picture and of the bar of the selection; rows drawn beyond the edges. */
const GAP = 14, TEXT = 92, BAR = 70, OVERSCAN = 2;
const SIZE = 'atelier_tile', USUAL_SIZE = 190;
/** px of the width of a telephone, on which two pictures fit side by side, and of a picture that shall have it for itself. */
const NARROW = 520, LARGE = 260;

export class Rows {
    constructor(element, store) {
        this.store = store;
        this.rows = new Map();
        this.size = Number(localStorage.getItem(SIZE)) || USUAL_SIZE;
        /** Where the keyboard is, how many pictures stand side by side, and what closes the open caption field. */
        Object.assign(this, { cursor: 0, columns: 1, rowHeight: 1, editing: null, stale: false });
        this.canvas = h('div', { class: 'room-canvas', role: 'grid', 'aria-multiselectable': 'true', 'aria-label': t('dataset.grid') });
        this.nothing = h('div', { class: 'room-nothing', hidden: true });
        this.scroller = h('div', { class: 'room-scroller', tabIndex: -1 }, this.canvas, this.nothing);
        fill(element, this.scroller);
        this.pages = new Pages(store, (news) => this.arrived(news), problem);
        this.#listen();
    }

    #listen() {
        const { store, scroller } = this;
        let waiting = false;
        scroller.addEventListener('scroll', () => {
            if (!waiting) requestAnimationFrame(() => { waiting = false; this.show(); });
            waiting = true;
        }, { passive: true });
        new ResizeObserver(() => this.layout()).observe(scroller);
        store.on('opened', () => this.renew());
        store.on('query', () => this.renew());
        store.on('changed', () => this.reload());
        store.on('buckets', () => this.reload());
        store.on('info', () => this.sayNothing());
        store.on('entry', ({ entry }) => this.redraw(this.pages.replace(entry)));
        store.on('selection', () => this.showSelection());
        store.on('redraw', () => this.redrawAll());
        store.on('size', ({ size }) => this.resize(size));
    }

    /** Another dataset or other filters: from the beginning. */
    renew() {
        this.editing?.();
        Object.assign(this, { cursor: 0, stale: false });
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
        Object.assign(this, { columns, rowHeight });
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

    /** The picture that the keyboard was at has gone: the one in its place has it now, so that the keys go on being heard. */
    keepFocus() {
        if (this.store.found) this.focus(this.cursor);
        else this.scroller.focus();
    }
}
