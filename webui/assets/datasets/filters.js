// What is looked for: the search box, the filters as chips with how many they would show, the order, and the size of the pictures.

import { button, debounced, fill, h, icon } from './dom.js';
import { known, t } from './words.js';

const FLAGS = ['uncaptioned', 'problem', 'masked', 'excluded'];
const SORTS = ['name', 'newest', 'caption length', 'size'];
const MS = 120;
const [SMALLEST, LARGEST] = [110, 340];

export function mount(element, store) {
    const search = h('input', { type: 'search', class: 'room-input', placeholder: t('dataset.search'), 'aria-label': t('dataset.search') });
    const look = debounced(() => store.setQuery({ text: search.value }), MS);
    // What an input method composes is looked for once it is finished.
    search.addEventListener('input', (event) => event.isComposing || look());
    search.addEventListener('compositionend', look);
    const sort = h('select', { class: 'room-input', 'aria-label': t('dataset.sort'), onchange: () => store.setQuery({ sort: sort.value }) },
        SORTS.map((each) => h('option', { value: each }, t(`dataset.sort_by.${each.replace(' ', '_')}`))));
    const size = h('input', { type: 'range', min: SMALLEST, max: LARGEST, step: 10, value: localStorage.getItem('atelier_tile') || 190, 'aria-label': t('dataset.size'), title: t('dataset.size'), oninput: () => store.emit('size', { size: Number(size.value) }) });
    const chips = h('div', { class: 'room-chips', role: 'group', 'aria-label': t('dataset.filters') });
    fill(element, h('div', { class: 'room-search' }, icon('search'), search), chips, h('div', { class: 'room-view' }, sort, size));

    const show = () => {
        if (!store.info) return;
        if (document.activeElement !== search) search.value = store.query.text;
        sort.value = store.query.sort;
        const focused = chips.contains(document.activeElement) && document.activeElement.dataset.chip;
        fill(chips, ...flags(store), concepts(store), ...chosen(store), found(store));
        if (focused) chips.querySelector(`[data-chip="${CSS.escape(focused)}"]`)?.focus();
    };
    for (const event of ['opened', 'info', 'query', 'found']) store.on(event, show);
}

/** A filter that is on or off. Those that would show nothing stay away. */
function flags(store) {
    const shown = FLAGS.filter((flag) => store.query[flag] || store.info[flag] > 0);
    return shown.map((flag) => h('button', { type: 'button', class: 'room-chip', 'data-chip': flag, 'aria-pressed': String(store.query[flag]), onclick: () => store.setQuery({ [flag]: !store.query[flag] }) },
        t(`dataset.filter.${flag}`), h('b', {}, store.info[flag].toLocaleString())));
}

function concepts(store) {
    const { concepts: known } = store.info;
    if (known.length < 2) return null;
    const choose = h('select', { class: 'room-chip', 'data-chip': 'concept', 'aria-label': t('dataset.concept'), onchange: () => store.setQuery({ concept: choose.value === '*' ? null : choose.value }) },
        h('option', { value: '*' }, t('dataset.every_concept')),
        known.map(({ folder, pictures }) => h('option', { value: folder }, t('dataset.concept_with', { name: folder || t('dataset.own_pictures'), count: pictures }))));
    choose.value = store.query.concept ?? '*';
    choose.classList.toggle('on', store.query.concept !== null);
    return choose;
}

/** Filters that come from elsewhere, each with a cross that takes it away. */
function chosen(store) {
    const { tags, without, bucket, finding } = store.query;
    const chip = (key, text, part, kind = '') => h('button', { type: 'button', class: `room-chip on ${kind}`, 'data-chip': key, 'aria-label': t('dataset.drop_filter', { filter: text }), onclick: () => store.setQuery(part) }, text, icon('close'));
    return [
        ...tags.map((tag) => chip(`+${tag}`, tag, { tags: tags.filter((each) => each !== tag) })),
        ...without.map((tag) => chip(`-${tag}`, t('dataset.not_tag', { tag }), { without: without.filter((each) => each !== tag) }, 'not')),
        bucket && chip('bucket', bucket.replace('x', '×'), { bucket: null }),
        finding && chip('finding', named(finding), { finding: null }),
    ];
}

const named = (finding) => (known(`dataset.finding.${finding}`) ? t(`dataset.finding.${finding}`) : finding);

function found(store) {
    if (!store.filtered) return null;
    return [h('span', { class: 'room-found', role: 'status' }, t('dataset.found', { count: store.found })), button(t('dataset.clear_filters'), () => store.clearQuery(), { kind: 'link' })];
}
