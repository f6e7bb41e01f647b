// What is said to the visitor: short notices at the lower edge, and dialogs. Both live inside the room, so that they have its look.

import { button, fill, h } from './dom.js';
import { t } from './words.js';

const SECONDS = 9;
let place = null;

/** Where notices and dialogs go. */
export function install(room) {
    place = room;
    room.append(h('div', { class: 'room-toasts', role: 'status', 'aria-live': 'polite' }));
}

/** A notice; `action` = {label, run} puts a button into it. */
export function toast(text, { bad = false, action = null, seconds = SECONDS } = {}) {
    const close = () => note.remove();
    const note = h('div', { class: `room-toast ${bad ? 'bad' : ''}` },
        h('span', {}, text),
        action && button(action.label, () => { close(); action.run(); }, { kind: 'link' }),
        button(t('dataset.close'), close, { icon: 'close', bare: true }));
    const toasts = place.querySelector('.room-toasts');
    toasts.append(note);
    while (toasts.childElementCount > 3) toasts.firstChild.remove();
    setTimeout(close, seconds * 1000);
    return close;
}

/** Says what went wrong; for `catch`. A call that was given up is no problem. */
export function problem(error) {
    if (error.name === 'AbortError') return;
    if (error.name !== 'Error' || !('code' in error)) console.error(error);
    const text = error.code === 'page.offline' ? t('dataset.offline') : [error.message, error.todo].filter(Boolean).join(' ');
    toast(text, { bad: true, seconds: 20 });
}

/**
 * A dialog over the page. `actions` is a list of [label, run, kind]; `run` may return false to keep it open. Esc and the cross close it.
 * Returns {element, close}; `closed` is called once it is gone.
 */
export function dialog(title, content, actions = [], { wide = false, closed = () => {} } = {}) {
    const act = (run) => async () => {
        try {
            if ((await run()) !== false) element.close();
        } catch (error) {
            problem(error);
        }
    };
    const element = h('dialog', { class: `room-dialog ${wide ? 'wide' : ''}`, 'aria-label': title },
        h('header', {}, h('h3', {}, title), button(t('dataset.close'), () => element.close(), { icon: 'close', bare: true })),
        h('div', { class: 'room-dialog-body' }, content),
        actions.length > 0 && h('footer', {}, actions.map(([label, run, kind = '']) => button(label, act(run), { kind }))));
    element.addEventListener('close', () => { element.remove(); closed(); });
    element.addEventListener('click', (event) => event.target === element && element.close());
    place.append(element);
    element.showModal();
    return { element, close: () => element.close() };
}

/** Asks for one line of text; `run(text)` may throw, then the dialog stays and shows why. */
export function askText(title, label, value, confirm, run) {
    const input = h('input', { type: 'text', value, class: 'room-input', 'aria-label': label });
    const trouble = h('p', { class: 'room-trouble', role: 'alert' });
    const go = async () => {
        try {
            await run(input.value.trim());
        } catch (error) {
            fill(trouble, [error.message, error.todo].filter(Boolean).join(' '));
            return false;
        }
    };
    const shown = dialog(title, h('form', { onsubmit: async (event) => { event.preventDefault(); if ((await go()) !== false) shown.close(); } },
        h('label', { class: 'room-field' }, h('span', {}, label), input), trouble), [[confirm, go, 'primary']]);
    input.select();
    return shown;
}
