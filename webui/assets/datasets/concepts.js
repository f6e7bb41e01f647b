// What the dataset says about itself: what it shows, its trigger word, and the folders of pictures that belong together.

import { address, post } from './api.js';
import { fill, h, icon } from './dom.js';
import { problem } from './notices.js';
import { t } from './words.js';

const KINDS = ['character', 'style', 'outfit', 'pose', 'object', 'concept'];

export function mount(element, store) {
    const show = () => {
        if (!store.info || element.contains(document.activeElement)) return;  // somebody is typing
        fill(element, form(store));
    };
    store.on('opened', show);
    store.on('info', show);
    show();
}

function form(store) {
    const { info } = store, locked = store.readOnly;
    const kind = kinds(info.kind || 'character', locked), trigger = text(info.trigger, locked);
    const folders = info.concepts.map((concept) => folder(concept, info, locked));
    const element = h('form', { class: 'room-form', onsubmit: (event) => event.preventDefault() },
        field('dataset.kind.label', kind), field('dataset.trigger.label', trigger, t('dataset.concepts.trigger_hint')),
        h('h4', {}, t('dataset.concepts.folders')), h('p', { class: 'room-facts' }, t('dataset.concepts.hint')),
        folders.map((each) => each.element),
        h('p', {}, h('a', { class: 'room-button', href: address('export', { dataset: store.dataset }), download: '' }, icon('download'), h('span', {}, t('dataset.export_toml')))));
    element.addEventListener('change', async () => {
        const concepts = folders.filter((each) => each.trained()).map((each) => each.value());
        try {
            await store.changed(null, (await post('concepts', { dataset: store.dataset, kind: kind.value, trigger: trigger.value.trim(), concepts })).history);
        } catch (error) {
            problem(error);
            fill(element.parentElement, form(store));
        }
    });
    return element;
}

/** One folder: whether it is trained on, and how. */
function folder(concept, info, locked) {
    const trained = check(concept.trained, locked), regularisation = check(concept.regularisation, locked);
    const repeats = h('input', { type: 'number', class: 'room-input', min: 1, max: 10000, step: 1, value: concept.repeats, disabled: locked });
    const kind = kinds(concept.kind || info.kind || 'character', locked), trigger = text(concept.trigger, locked, info.trigger), tokens = text(concept.class_tokens, locked);
    const name = concept.folder || t('dataset.own_pictures');
    const details = h('details', { class: 'room-concept', open: info.concepts.length === 1 },
        h('summary', {}, h('span', {}, name), h('small', {}, t(concept.trained ? 'dataset.concepts.times' : 'dataset.concepts.ignored', { count: concept.pictures, repeats: concept.repeats }))),
        field('dataset.concepts.trained', trained), field('dataset.repeats.label', repeats), field('dataset.kind.label', kind),
        field('dataset.concepts.own_trigger', trigger), field('dataset.concepts.class_tokens', tokens, t('dataset.concepts.class_tokens_hint')),
        field('dataset.concepts.regularisation', regularisation, t('dataset.concepts.regularisation_hint')));
    return {
        element: details,
        trained: () => trained.checked,
        value: () => ({
            folder: concept.folder || '.', repeats: Number(repeats.value), kind: kind.value, trigger: trigger.value.trim(), class_tokens: tokens.value.trim(), regularisation: regularisation.checked,
        }),
    };
}

const field = (key, control, hint) => h('label', { class: `room-field ${control.type === 'checkbox' ? 'check' : ''}` }, h('span', {}, t(key)), control, hint && h('small', {}, hint));
const text = (value, disabled, placeholder = '') => h('input', { type: 'text', class: 'room-input', value, disabled, placeholder, spellcheck: 'false' });
const check = (checked, disabled) => h('input', { type: 'checkbox', checked, disabled });

function kinds(value, disabled) {
    const choose = h('select', { class: 'room-input', disabled }, KINDS.map((each) => h('option', { value: each }, t(`dataset.kind.choice.${each}`))));
    choose.value = value;
    return choose;
}
