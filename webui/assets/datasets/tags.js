// Every tag with how often it occurs. A click shows the pictures that have it, another one all again; Alt or Shift with the click,
// or the minus, shows those that lack it. Above them which tags describe the concept itself and so take from its trigger word.

import { post } from './api.js';
import { button, debounced, fill, h } from './dom.js';
import { problem } from './notices.js';
import { t } from './words.js';

const MOST = 300;
/** Rows drawn at once. */

export function mount(element, store) {
    const search = h('input', { type: 'search', class: 'room-input', placeholder: t('dataset.tags.search'), 'aria-label': t('dataset.tags.search') });
    const advice = h('div', { class: 'room-advice' }), list = h('ul', { class: 'room-taglist', 'aria-label': t('dataset.panel.tags') }), more = h('p', { class: 'room-facts' });
    fill(element, advice, search, h('p', { class: 'room-facts' }, t('dataset.tags.hint')), list, more);
    let table = { tags: [], suggestions: [], captions: 0 }, turn = 0;

    const read = async () => {
        const mine = ++turn;
        if (!store.dataset) return;
        try {
            const found = await post('tags', { dataset: store.dataset, query: store.query });
            if (mine !== turn) return;
            table = found;
            draw();
        } catch (error) {
            problem(error);
        }
    };
    const draw = () => {
        const part = search.value.trim().toLowerCase(), tags = table.tags.filter(({ tag }) => tag.toLowerCase().includes(part));
        const most = Math.max(1, ...tags.map(({ count }) => count));
        const focused = list.contains(document.activeElement) && document.activeElement.closest('li').dataset.tag;
        fill(list, tags.slice(0, MOST).map((each) => row(each, most)));
        if (focused) list.querySelector(`li[data-tag="${CSS.escape(focused)}"] button`)?.focus();
        fill(more, tags.length > MOST ? t('dataset.tags.more', { count: tags.length - MOST }) : !tags.length && t('dataset.tags.none'));
        fill(advice, table.suggestions.length > 0 && !store.readOnly && suggestions(table.suggestions, store));
    };
    const row = ({ tag, count, with_trigger: together }, most) => {
        const has = store.query.tags.includes(tag), lacks = store.query.without.includes(tag);
        const title = store.info.trigger ? t('dataset.tags.with_trigger', { count, captions: table.captions, together }) : t('dataset.tags.of', { count, captions: table.captions });
        return h('li', { class: lacks ? 'lacks' : has ? 'has' : '', 'data-tag': tag },
            h('button', { type: 'button', class: 'room-tag', title, 'aria-pressed': String(has), onclick: (event) => choose(tag, event.altKey || event.shiftKey) },
                h('i', { style: `width: ${(100 * count) / most}%` }), h('span', {}, tag), h('b', {}, count.toLocaleString())),
            h('button', { type: 'button', class: 'room-minus', title: t('dataset.tags.without', { tag }), 'aria-label': t('dataset.tags.without', { tag }), 'aria-pressed': String(lacks), onclick: () => choose(tag, true) }, '−'));
    };
    const choose = (tag, lacking) => {
        const { tags, without } = store.query, rest = { tags: tags.filter((each) => each !== tag), without: without.filter((each) => each !== tag) };
        const key = lacking ? 'without' : 'tags', on = store.query[key].includes(tag);
        store.setQuery(on ? rest : { ...rest, [key]: [...rest[key], tag] });
    };
    search.addEventListener('input', draw);
    const later = debounced(read, 150);
    for (const event of ['opened', 'changed', 'query']) store.on(event, later);
    read();
}

/** Tags that say what the trigger word shall say, with one click to take them out of the captions. */
function suggestions(found, store) {
    const propose = (tags) => store.propose({ kind: 'remove', tags: tags.join(', ') });
    return h('details', { class: 'room-suggestions', open: true }, h('summary', {}, t('dataset.tags.prune')),
        h('p', {}, t('dataset.tags.prune_why')),
        h('ul', {}, found.map(({ tag, reason }) => h('li', {}, h('span', {}, tag), h('small', {}, reason), button(t('dataset.tags.remove'), () => propose([tag]), { kind: 'link' })))),
        found.length > 1 && button(t('dataset.tags.remove_all'), () => propose(found.map(({ tag }) => tag))));
}
