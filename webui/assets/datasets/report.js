// What became of files that came: a short notice where all is well, else a list of what has another name and what stayed outside.

import { h } from './dom.js';
import { dialog, toast } from './notices.js';
import { t } from './words.js';

const SHOWN = 200;
/** Files that systems put into folders for themselves: counted, not listed. */
const HIDDEN = 'incoming.hidden';

/** Tells an upload's or a copy's report. */
export function arrived({ added, kept_both: renamed, skipped, unreadable, refused = [] }) {
    const said = skipped.filter(({ code }) => code !== HIDDEN), hidden = skipped.length - said.length;
    const headline = added.length ? t('dataset.report.added', { count: added.length }) : t('dataset.report.nothing');
    if (!renamed.length && !said.length && !unreadable.length && !refused.length) return toast(headline, { seconds: 6 });
    dialog(t('dataset.report.title'), h('div', { class: 'room-report' },
        h('p', { class: added.length ? 'room-good' : '' }, headline),
        section(t('dataset.report.refused', { count: refused.length }), t('dataset.report.refused_hint'), refused.map(({ name, reason }) => [name, reason]), 'bad'),
        section(t('dataset.report.kept_both', { count: renamed.length }), t('dataset.report.kept_both_hint'), renamed.map(({ sent, name }) => [sent, t('dataset.report.is_now', { name })])),
        section(t('dataset.report.unreadable', { count: unreadable.length }), t('dataset.report.unreadable_hint'), unreadable.map(({ name, reason }) => [name, reason]), 'bad'),
        section(t('dataset.report.skipped', { count: said.length }), '', said.map(({ name, reason }) => [name, reason])),
        hidden > 0 && h('p', { class: 'room-hint' }, t('dataset.report.hidden', { count: hidden }))), [[t('dataset.report.fine'), () => {}, 'primary']], { wide: true });
}

function section(title, hint, rows, kind = '') {
    if (!rows.length) return null;
    const more = rows.length - SHOWN;
    return h('details', { class: `room-told ${kind}`, open: rows.length <= 8 },
        h('summary', {}, title), hint && h('p', { class: 'room-hint' }, hint),
        h('ul', {}, rows.slice(0, SHOWN).map(([name, text]) => h('li', {}, h('b', {}, name), h('span', {}, text)))),
        more > 0 && h('p', { class: 'room-hint' }, t('dataset.report.more', { count: more })));
}
