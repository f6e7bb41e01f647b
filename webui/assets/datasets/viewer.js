// One picture, large: what it is, what training makes of it, its caption, and everything that can be done to it.
//
// Keys: left and right arrow for the picture before and after, Esc closes. Inside fields and frames the arrows are theirs.

import { address, get, post } from './api.js';
import { oneLine, save } from './caption.js';
import { button, composing, fill, h, icon, set } from './dom.js';
import { dialog, problem } from './notices.js';
import { closeNext, painter } from './mask.js';
import { wished } from './training.js';
import { tools } from './tools.js';
import { t } from './words.js';

const CUT = 'atelier_show_cut';

export function open(name, store) {
    new Viewer(store).open(name);
}

class Viewer {
    constructor(store) {
        this.store = store;
        this.names = [];
        this.parts = [];
        this.picture = h('img', { alt: '', draggable: 'false' });
        this.cut = h('div', { class: 'viewer-cut', hidden: true });
        this.stage = h('div', { class: 'viewer-stage' }, this.picture, this.cut);
        this.back = button(t('dataset.viewer.previous'), () => this.step(-1), { icon: 'back', bare: true });
        this.next = button(t('dataset.viewer.next'), () => this.step(1), { icon: 'next', bare: true });
        this.count = h('span', { class: 'viewer-count' });
        this.side = h('div', { class: 'viewer-side' });
        const content = h('div', { class: 'viewer-body' },
            h('div', { class: 'viewer-main' }, this.stage, h('div', { class: 'viewer-way' }, this.back, this.count, this.next)), this.side);
        this.box = dialog(t('dataset.viewer.title'), content, [], { closed: () => this.close() });
        this.box.element.classList.add('room-viewer');
        this.box.element.tabIndex = -1;
        const keys = (event) => this.key(event);
        document.addEventListener('keydown', keys);  // whatever has the keyboard: a button that was just disabled has not
        this.deaf = [() => document.removeEventListener('keydown', keys), store.on('changed', () => this.again()), store.on('opened', () => this.box.close())];
    }

    async open(name) {
        try {
            this.names = (await post('names', { dataset: this.store.dataset, query: this.store.query })).names;
            await this.show(name);
        } catch (error) {
            problem(error);
            this.box.close();
        }
    }

    get at() {
        return this.names.indexOf(this.name);
    }

    /** Leaves what was painted or typed behind saved, and shows a picture. */
    async show(name) {
        if (name !== this.name) this.leave();
        this.name = name;
        const { dataset } = this.store;
        const [look, crops] = await Promise.all([get('look', { dataset, name }), post('crops', { ...wished(), dataset, names: [name] })]);
        if (this.known === JSON.stringify([look, crops, this.names])) return;
        if (this.name !== name || !this.box.element.open) return;
        this.leave();
        this.known = JSON.stringify([look, crops, this.names]);
        this.draw(look, crops[name]);
    }

    draw(look, placed) {
        const { entry } = look, { dataset } = this.store;
        Object.assign(this, { entry });
        fill(this.box.element.querySelector('h3'), entry.name);
        const readable = entry.width > 0;
        this.stage.classList.toggle('broken', !readable);
        this.stage.style.setProperty('--aspect', readable ? entry.width / entry.height : 1);
        set(this.picture, { src: readable ? address('picture', { dataset, name: entry.name, v: entry.stamp }) : null, alt: entry.caption || entry.name });
        this.drawCut(placed);
        fill(this.count, this.at >= 0 ? t('dataset.viewer.count', { at: this.at + 1, count: this.names.length }) : '');
        this.back.disabled = this.at <= 0;
        this.next.disabled = this.at < 0 || this.at >= this.names.length - 1;
        this.parts = readable && !this.store.readOnly && !entry.excluded
            ? [tools(this, look, placed), painter(this.stage, entry, this.store)] : [tools(this, look, placed)];
        fill(this.side, this.caption(), this.facts(placed), placed && this.cutSwitch(), this.parts.map(({ element }) => element));
        if (!this.box.element.contains(document.activeElement)) this.box.element.focus();  // what had the keyboard is drawn anew
        const after = this.names[this.at + 1];
        if (after) new Image().src = address('thumb', { dataset, name: after });
    }

    /** The caption, saved when the field is left. */
    caption() {
        const { entry, store } = this;
        const field = h('textarea', { class: 'room-input viewer-caption', rows: 4, spellcheck: 'false', readOnly: store.readOnly, value: store.drafts.get(entry.name) ?? entry.caption });
        const keep = () => {
            const text = oneLine(field.value);
            if (!store.readOnly && text !== oneLine(entry.caption)) save(store, entry, text);
        };
        field.addEventListener('blur', keep);
        field.addEventListener('keydown', (event) => {
            if (composing(event) || !(event.key === 'Enter' || ((event.ctrlKey || event.metaKey) && event.key === 's'))) return;
            event.preventDefault();
            field.blur();
        });
        return h('label', { class: 'room-field' }, h('span', {}, t('dataset.viewer.caption')), field);
    }

    facts(placed) {
        const { entry } = this, rows = [];
        if (entry.width) rows.push([t('dataset.viewer.size'), t('dataset.viewer.size_is', { width: entry.width, height: entry.height })]);
        rows.push([t('dataset.viewer.file'), t('dataset.viewer.file_is', { format: entry.name.split('.').pop().toUpperCase(), size: Number((entry.bytes / 1024).toFixed(entry.bytes < 10240 ? 1 : 0)) })]);
        if (placed) {
            rows.push([t('dataset.viewer.bucket'), `${placed.bucket[0]} × ${placed.bucket[1]} px`]);
            const [left, top, right, bottom] = placed.crop, kept = ((right - left) * (bottom - top)) / (entry.width * entry.height);
            const scale = Math.max(placed.resized[0] / entry.width, placed.resized[1] / entry.height);
            rows.push([t('dataset.viewer.training'), [
                kept > 0.995 ? t('dataset.viewer.nothing_cut') : t('dataset.viewer.cut_off', { percent: Math.round(100 * (1 - kept)) }),
                scale > 1.005 && t('dataset.viewer.enlarged', { times: Number(scale.toFixed(1)) }),
            ].filter(Boolean).join(' · ')]);
        }
        return h('dl', { class: 'viewer-facts' }, rows.map(([name, value]) => [h('dt', {}, name), h('dd', {}, value)]));
    }

    // ---- what training cuts off ----

    cutSwitch() {
        const check = h('input', { type: 'checkbox', checked: localStorage.getItem(CUT) !== 'no' });
        check.addEventListener('change', () => {
            localStorage.setItem(CUT, check.checked ? 'yes' : 'no');
            this.showCut();
        });
        return h('label', { class: 'room-switch' }, check, h('span', {}, t('dataset.viewer.show_cut')));
    }

    drawCut(placed) {
        const { width, height } = this.entry, percent = (value, all) => `${(100 * value) / all}%`;
        this.placed = placed;
        if (placed) {
            const [left, top, right, bottom] = placed.crop;
            Object.assign(this.cut.style, { left: percent(left, width), top: percent(top, height), width: percent(right - left, width), height: percent(bottom - top, height) });
        }
        this.showCut();
    }

    /** The frame of what stays, while nothing else is drawn on the picture and something is cut. */
    showCut(free = true) {
        const { placed, entry } = this;
        const whole = placed && placed.crop[2] - placed.crop[0] > entry.width - 1 && placed.crop[3] - placed.crop[1] > entry.height - 1;
        this.cut.hidden = !placed || whole || !free || localStorage.getItem(CUT) === 'no';
    }

    // ---- going on ----

    step(by) {
        const name = this.names[this.at + by];
        if (name && this.at >= 0) this.show(name).catch(problem);
    }

    key(event) {
        if (composing(event) || event.target.closest('input:not([type=checkbox]), textarea, select') || event.ctrlKey || event.metaKey || event.altKey) return;
        if (event.key !== 'ArrowLeft' && event.key !== 'ArrowRight') return;
        event.preventDefault();
        this.step(event.key === 'ArrowLeft' ? -1 : 1);
    }

    /** Does something to the picture on the server: {names, history} comes back, and the picture goes by the name in it. */
    async alter(path, body) {
        try {
            const told = await post(path, { dataset: this.store.dataset, ...body });
            const place = this.at;
            if (told.names[0] && told.names[0] !== this.name && place >= 0) this.names[place] = this.name = told.names[0];
            await this.store.changed(told.names, told.history);
            return told;
        } catch (error) {
            problem(error);
            return null;
        }
    }

    /** The files have changed: the same picture again, or where it has gone the one in its place. */
    async again() {
        const { dataset, query } = this.store, place = Math.max(0, this.at);
        try {
            this.names = (await post('names', { dataset, query })).names;
            if (!this.box.element.open) return;
            const name = this.names.includes(this.name) ? this.name : this.names[Math.min(place, this.names.length - 1)];
            if (!name) this.box.close();
            else if (!this.box.element.contains(document.activeElement) || !document.activeElement.matches('textarea')) await this.show(name);
        } catch (error) {
            problem(error);
        }
    }

    leave() {
        for (const part of this.parts) part.leave();
        this.parts = [];
    }

    close() {
        document.activeElement?.blur?.();
        this.leave();
        closeNext();
        for (const stop of this.deaf) stop();
        if (this.name) this.store.emit('show', { name: this.name });
    }
}
