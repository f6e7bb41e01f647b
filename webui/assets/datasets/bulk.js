// Edits of many captions at once: choose one, see what it would change, apply it. They concern the selection, or without one all
// pictures that the filters show.

import { address, get, post } from './api.js';
import { button, debounced, fill, h } from './dom.js';
import { shown } from './diff.js';
import { done } from './history.js';
import { problem } from './notices.js';
import { t } from './words.js';

const MS = 250;

export async function mount(element, store) {
    const kinds = await get('edits').catch((error) => { problem(error); return []; });
    if (!kinds.length) return;
    let draft = {}, kind = kinds[0].kind, turn = 0, names = [];
    const choose = h('select', { class: 'room-input', 'aria-label': t('dataset.edits.kind') }, kinds.map((each) => h('option', { value: each.kind }, each.label)));
    const form = h('form', { class: 'room-form', onsubmit: (event) => { event.preventDefault(); apply(); } });
    const about = h('p', { class: 'room-facts' }), trouble = h('p', { class: 'room-trouble', role: 'alert' });
    const counted = h('p', { class: 'room-counted', role: 'status' }), list = h('ul', { class: 'room-preview' });
    const go = button(t('dataset.edits.apply'), () => apply(), { kind: 'primary', disabled: true });
    fill(element, h('label', { class: 'room-field' }, h('span', {}, t('dataset.edits.kind')), choose), about, form, trouble, h('div', { class: 'room-apply' }, counted, go), list);

    const drawForm = () => {
        const { help, fields } = kinds.find((each) => each.kind === kind);
        draft = { ...Object.fromEntries(fields.map((field) => [field.name, field.default])), ...(kind === 'trigger' && { trigger: store.info.trigger }), ...draft };
        choose.value = kind;
        fill(form, h('p', { class: 'room-facts' }, help), fields.map((field) => control(field, draft, later)));
    };
    /** The edit as it stands in the form, or null while something that it needs is missing. */
    const edit = () => {
        const { fields } = kinds.find((each) => each.kind === kind);
        const given = Object.fromEntries(fields.map(({ name }) => [name, draft[name]]));
        return fields.some(({ name, required }) => required && !String(given[name]).trim()) ? null : { kind, ...given };
    };
    const look = async () => {
        const mine = ++turn, wanted = edit();
        go.disabled = true;
        fill(trouble);
        if (!store.dataset || element.hidden) return;
        try {
            const chosen = await store.names();
            if (mine !== turn) return;
            names = chosen;
            fill(about, t(store.selection.size ? 'dataset.edits.of_selection' : store.filtered ? 'dataset.edits.of_found' : 'dataset.edits.of_all', { count: names.length }));
            if (!wanted || !names.length) return fill(counted), fill(list);
            const told = await post('edit', { dataset: store.dataset, names, edit: wanted, preview: true });
            if (mine !== turn) return;
            fill(counted, t('dataset.edits.changes', { count: told.changed, all: names.length }));
            go.disabled = told.changed === 0 || store.readOnly;
            fill(list, told.examples.map((each) => example(each, store)), told.changed > told.examples.length && h('li', { class: 'room-facts' }, t('dataset.edits.more', { count: told.changed - told.examples.length })));
        } catch (error) {
            if (mine !== turn) return;
            fill(trouble, [error.message, error.todo].filter(Boolean).join(' '));
            fill(counted);
            fill(list);
        }
    };
    const later = debounced(look, MS);
    const apply = async () => {
        const wanted = edit();
        if (go.disabled || !wanted) return;
        go.disabled = true;
        try {
            const told = await post('edit', { dataset: store.dataset, names, edit: wanted, preview: false });
            done(store, t('dataset.edits.done', { count: told.changed }), told.history);
            await store.changed(names, told.history);
        } catch (error) {
            problem(error);
            later();
        }
    };
    const take = () => {
        if (!store.proposed) return;
        ({ kind, ...draft } = store.proposed);
        store.proposed = null;
        drawForm();
        look();
    };
    choose.addEventListener('change', () => {
        kind = choose.value;
        draft = {};
        drawForm();
        look();
    });
    for (const event of ['selection', 'query', 'changed', 'found', 'panel']) store.on(event, later);
    store.on('opened', () => { if (store.dataset) { draft = {}; drawForm(); later(); } });
    store.on('proposed', take);
    drawForm();
    if (store.proposed) take();
    else look();
}

/** The field of one option; what is typed goes into `draft`. */
function control({ name, type, label, help, choices, example: sample, minimum, maximum, step, lines }, draft, changed) {
    const take = (value) => { draft[name] = value; changed(); };
    const value = draft[name];
    let input;
    if (type === 'bool') input = h('input', { type: 'checkbox', checked: value, onchange: () => take(input.checked) });
    else if (choices.length) {
        input = h('select', { class: 'room-input', onchange: () => take(input.value) }, choices.map((each) => h('option', { value: each.value }, each.label)));
        input.value = value;
    } else if (type === 'int') input = h('input', { type: 'number', class: 'room-input', min: minimum, max: maximum, step, value, oninput: () => input.value !== '' && take(Number(input.value)) });
    else input = h(lines ? 'textarea' : 'input', { ...(lines ? { rows: 3 } : { type: 'text' }), class: 'room-input', value, placeholder: sample ?? '', spellcheck: 'false', oninput: () => take(input.value) });
    input.dataset.field = name;
    return h('label', { class: `room-field ${type === 'bool' ? 'check' : ''}`, title: help }, h('span', {}, label), input, h('small', {}, help));
}

const example = ({ name, before, after, stamp }, store) => h('li', { 'data-name': name },
    h('img', { src: address('thumb', { dataset: store.dataset, name, v: stamp }), alt: '', loading: 'lazy' }), h('div', { title: name }, shown(before, after)));
