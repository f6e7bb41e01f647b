// One picture of the grid: thumbnail, badges, caption.

import { address } from './api.js';
import { fill, h, icon, set } from './dom.js';
import { t } from './words.js';

const SETTLED = 70;
/** ms that a tile must stay in sight before its picture is asked for, so that scrolling past asks for nothing. */

export function tile(index) {
    return h('div', { class: 'room-tile', role: 'gridcell', 'aria-selected': false, 'data-index': index, tabIndex: -1 });
}

/** Draws an entry into its cell; without one the place where it will be. */
export function draw(cell, entry, store) {
    const key = entry ? JSON.stringify([entry, store.query.text, store.drafts.get(entry.name)]) : '';
    if (cell.drawn === key) return;
    const same = entry && cell.dataset.name === entry.name && cell.stamp === entry.stamp;
    cell.drawn = key;
    cell.classList.toggle('waiting', !entry);
    if (!entry) {
        delete cell.dataset.name;
        fill(cell, h('div', { class: 'room-thumb' }), h('div', { class: 'room-text' }));
        return;
    }
    const draft = store.drafts.get(entry.name), caption = draft ?? entry.caption;
    set(cell, { 'aria-label': t('dataset.tile', { name: entry.name, caption: caption || t('dataset.no_caption') }) });
    cell.classList.toggle('uncaptioned', !caption);
    const picture = same ? cell.querySelector('.room-thumb') : thumb(cell, entry, store);
    const text = h('div', { class: 'room-text', title: t('dataset.edit_hint') }, caption ? marked(caption, store.query.text) : h('i', {}, t('dataset.no_caption')));
    Object.assign(cell, { stamp: entry.stamp });
    cell.dataset.name = entry.name;
    fill(cell, picture, badges(entry, draft !== undefined), text, h('div', { class: 'room-foot' }, h('span', { title: entry.name }, file(entry)), entry.bucket && h('span', { title: t('dataset.bucket_is', { width: entry.width, height: entry.height }) }, entry.bucket.replace('x', '×'))));
}

function thumb(cell, entry, store) {
    const picture = h('img', { alt: '', draggable: 'false', decoding: 'async' });
    const holder = h('div', { class: 'room-thumb' }, picture,
        h('button', { type: 'button', class: 'room-check', tabIndex: -1, 'aria-hidden': 'true' }, icon('check')),
        h('button', { type: 'button', class: 'room-look', tabIndex: -1, 'aria-label': t('dataset.look'), title: t('dataset.look') }, icon('eye')));
    picture.addEventListener('error', () => { picture.hidden = true; holder.classList.add('broken'); });
    picture.addEventListener('load', () => holder.classList.add('loaded'));
    const ask = () => { picture.src = address('thumb', { dataset: store.dataset, name: entry.name, v: entry.stamp }); };
    if (entry.width || !entry.problem.startsWith('picture.')) setTimeout(() => cell.isConnected && ask(), SETTLED);
    else { picture.hidden = true; holder.classList.add('broken'); }
    return holder;
}

function badges(entry, draft) {
    const flags = [];
    if (draft) flags.push(['unsaved', t('dataset.flag.unsaved')]);
    if (entry.problem) flags.push(['problem', entry.problem_text || t('dataset.flag.problem')]);
    if (!entry.caption && !entry.problem) flags.push(['uncaptioned', t('dataset.flag.uncaptioned')]);
    if (entry.masked) flags.push(['masked', t('dataset.flag.masked')]);
    if (entry.excluded) flags.push(['excluded', t('dataset.flag.excluded')]);
    return h('div', { class: 'room-flags' }, flags.map(([kind, text]) => h('span', { class: `room-flag ${kind}`, title: text }, t(`dataset.flag.${kind}_short`))));
}

const file = (entry) => entry.name.replace(/^_excluded\//, '');

/** The text with what is searched for marked in it. */
function marked(text, search) {
    const words = search.split(/\s+/).filter(Boolean);
    if (!words.length) return text;
    const pattern = new RegExp(`(${words.map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')).join('|')})`, 'giu');
    return text.split(pattern).map((part, at) => (at % 2 ? h('mark', {}, part) : part));
}
