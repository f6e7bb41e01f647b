// The upper edge: which dataset it is, what can be taken back, and what can be done with the whole of it.

import { address, post } from './api.js';
import { button, fill, h, icon } from './dom.js';
import * as history from './history.js';
import { askText, problem } from './notices.js';
import * as upload from './upload.js';
import { t } from './words.js';

export function mount(element, store, tell) {
    const name = h('h2', { class: 'room-name' }), facts = h('p', { class: 'room-facts' }), notice = h('div', { class: 'room-notice', hidden: true });
    const undo = button(t('dataset.undo'), () => history.undo(store), { icon: 'undo', bare: true });
    const redo = button(t('dataset.redo'), () => history.redo(store), { icon: 'redo', bare: true });
    const add = button(t('dataset.add'), () => upload.choose(store), { icon: 'upload' });
    const exported = h('a', { class: 'room-button', download: '' }, icon('download'), h('span', {}, t('dataset.export')));
    const train = button(t('dataset.train'), () => tell('train', { dataset: store.dataset }), { kind: 'primary' });
    fill(element,
        h('div', { class: 'room-title' }, button(t('dataset.all'), () => store.close(), { icon: 'back', bare: true }), h('div', {}, name, facts)),
        h('div', { class: 'room-actions' }, undo, redo, exported, add, train), notice);

    const told = (label, text) => (text ? t('dataset.named_step', { label, text }) : label);
    const showHistory = () => {
        for (const [each, label, step] of [[undo, t('dataset.undo'), 'undo'], [redo, t('dataset.redo'), 'redo']]) {
            const text = history.named(store.info?.history?.[step]);
            each.disabled = !text;
            each.title = told(label, text);
            each.setAttribute('aria-label', each.title);
        }
    };
    const showInfo = () => {
        const info = store.info;
        if (!info) return;
        fill(name, info.name);
        const reading = !info.whole && t('dataset.reading', { done: info.indexed, total: info.total });
        fill(facts, [t('dataset.pictures', { count: info.total }), info.trigger && t('dataset.trigger_is', { trigger: info.trigger }), reading].filter(Boolean).join(' · '));
        name.title = info.folder;
        exported.href = address('export', { dataset: store.dataset });
        add.hidden = info.read_only;
        train.disabled = info.total === 0;
        notice.hidden = !info.read_only;
        fill(notice, h('span', {}, t('dataset.read_only')), button(t('dataset.copy'), () => copy(store), {}));
    };
    const show = () => { showInfo(); showHistory(); };
    store.on('opened', show);
    store.on('info', show);
    store.on('history', showHistory);
}

/** A copy that can be changed, under a name the visitor gives. */
export function copy(store) {
    const proposal = `${store.info.name.split('/').pop()}-copy`;
    askText(t('dataset.copy'), t('dataset.new_name'), proposal, t('dataset.copy_do'), async (name) => {
        const { dataset } = await post('copy', { dataset: store.dataset, name });
        await store.open(dataset).catch(problem);
    });
}
