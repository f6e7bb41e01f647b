// What the doctor says of the dataset: whether one can train, what to put right first, and the click that does it.

import { address, get, post, remove } from './api.js';
import { button, fill, h, icon } from './dom.js';
import { done } from './history.js';
import { problem } from './notices.js';
import { checkSettings } from './training.js';
import { known, t } from './words.js';
import * as viewer from './viewer.js';

const BETWEEN_LOOKS = 700, ROWS = 3, FACES = 4;
const SEVERITIES = ['error', 'warning', 'advice'];
const SIGNS = { ready: 'check', fix_first: 'warn', must_not: 'close' };
const WORKING = ['queued', 'running', 'pausing'];

export function mount(element, store, tell) {
    const action = h('div', { class: 'room-checked' }), verdict = h('div', { role: 'status' }), list = h('div', { class: 'room-findings' });
    fill(element, h('p', { class: 'room-hint' }, t('dataset.check.what')), action, verdict, list);
    let timer = null, shown = '', report = null;

    const look = async () => {
        clearTimeout(timer);
        const { dataset } = store;
        if (!dataset) return;
        try {
            const told = await get('check', { dataset });
            if (dataset !== store.dataset) return;
            drawAction(action, told, begin, stop);
            if (WORKING.includes(told.state)) timer = setTimeout(look, BETWEEN_LOOKS);
            report = told.report;
            const next = JSON.stringify([dataset, report]);
            if (next !== shown) draw();
            shown = next;
        } catch (error) {
            problem(error);
        }
    };
    const begin = async () => {
        try {
            await post('check', { dataset: store.dataset, config: checkSettings() });
        } catch (error) {
            problem(error);
        }
        look();
    };
    const stop = async () => {
        await remove('check', { dataset: store.dataset }).catch(problem);
        look();
    };
    const draw = () => {
        fill(verdict, report && banner(report, store, tell));
        fill(list, report && (report.findings.length ? SEVERITIES.map((severity) => section(severity, report.findings, repair, store)) : h('p', { class: 'room-good' }, t('dataset.check.all_well'))));
        if (report) store.emit('checked');
    };
    /** Applies the remedy of findings of one code. They are gone from the list at once; the notice takes it back. */
    const repair = async (findings, row) => {
        if (findings[0].elsewhere) return tell('caption', { dataset: store.dataset, names: findings.flatMap(({ names }) => names) });
        row.setAttribute('aria-busy', 'true');
        try {
            const told = await post('remedy', { dataset: store.dataset, at: report.at, findings: findings.map(({ place }) => place) });
            row.remove();
            done(store, t('dataset.check.fixed', { remedy: remedyName(findings[0]) }), told.history);
            await store.changed(told.names, told.history);
        } catch (error) {
            row.removeAttribute('aria-busy');
            problem(error);
        }
        look();
    };
    store.on('opened', look);
    store.on('changed', look);
    look();
}

function drawAction(element, { state, done: looked, total, error, report }, begin, stop) {
    if (WORKING.includes(state)) {
        const text = total ? t('dataset.check.progress', { done: looked, total }) : t(state === 'queued' ? 'dataset.check.waiting' : 'dataset.check.running');
        fill(element, h('div', { class: 'room-checking', role: 'status' }, h('span', {}, text), h('progress', { max: total || 1, ...(total ? { value: looked } : {}), 'aria-label': t('dataset.check.running') })), button(t('dataset.check.cancel'), stop, { kind: 'small' }));
        return;
    }
    const note = error ? [error.message, error.todo].filter(Boolean).join(' ') : report?.outdated ? t('dataset.check.outdated') : report ? '' : t('dataset.check.none');
    fill(element, button(t(report ? 'dataset.check.again' : 'dataset.check.start'), begin, { kind: report && !report.outdated ? '' : 'primary', icon: 'search' }),
        note && h('p', { class: `room-hint ${error ? 'bad' : ''}` }, note));
}

/** The verdict in one sentence, with the way on to training where there is one. */
function banner({ verdict, counts, facts }, store, tell) {
    const values = { pictures: facts.pictures ?? 0, errors: counts.error, warnings: counts.warning };
    return h('div', { class: `room-verdict ${verdict}` }, icon(SIGNS[verdict]),
        h('strong', {}, t(`dataset.check.verdict.${verdict}`)),
        h('p', {}, t(`dataset.check.verdict_hint.${verdict}`, values),
            facts.model && facts.resolution ? ` ${t('dataset.check.at', { model: facts.model, resolution: facts.resolution })}` : ''),
        verdict === 'ready' && tell && button(t('dataset.check.train'), () => tell('train', { dataset: store.dataset }), { kind: 'primary' }));
}

function section(severity, findings, repair, store) {
    const byCode = new Map();
    for (const each of findings) if (each.severity === severity) byCode.set(each.code, [...(byCode.get(each.code) ?? []), each]);
    if (!byCode.size) return null;
    return h('section', { class: 'room-severity' }, h('h4', {}, t(`dataset.check.severity.${severity}`)), [...byCode.values()].map((group) => card(group, repair, store)));
}

/** All findings of one code. */
function card(group, repair, store) {
    const [{ code, severity }] = group, element = h('article', { class: `room-finding ${severity}`, 'data-code': code });
    const rows = group.map((each) => row(each, repair, store)), hidden = rows.slice(ROWS);
    const title = known(`dataset.finding.${code}`) ? t(`dataset.finding.${code}`) : code;
    const mendable = group.filter(({ remedy }) => remedy), pictured = group.some(({ pictures }) => pictures.length);
    return fill(element,
        h('header', {}, h('strong', {}, title), group.length > 1 && h('b', {}, group.length.toLocaleString())),
        h('ul', {}, rows.slice(0, ROWS)),
        hidden.length > 0 && h('details', {}, h('summary', {}, t('dataset.check.more', { count: group.length })), h('ul', {}, hidden)),
        h('footer', {},
            mendable.length > 1 && !store.readOnly && button(t('dataset.check.fix_all', { remedy: remedyName(mendable[0]), count: mendable.length }), () => repair(mendable, element), { kind: 'small' }),
            pictured && button(t('dataset.check.show'), () => store.setQuery({ finding: code }), { kind: 'small', icon: 'eye' })));
}

function row(finding, repair, store) {
    const { message, todo, pictures, remedy } = finding, element = h('li', { class: pictures.length ? '' : 'whole' });
    const faces = h('div', { class: 'room-faces' }, pictures.slice(0, FACES).map((picture) => face(picture, store)));
    return fill(element, pictures.length > 0 && faces, h('p', {}, [message, todo].filter(Boolean).join(' ')),
        remedy && !store.readOnly && button(remedyName(finding), () => repair([finding], element), { kind: 'small' }));
}

function face({ name, v, readable }, store) {
    const look = () => viewer.open(name, store);
    const attributes = { type: 'button', title: name, 'aria-label': t('dataset.check.look_at', { name }), onclick: look };
    if (!readable) return h('button', { ...attributes, class: 'broken' }, '!');
    return h('button', attributes, h('img', { src: address('thumb', { dataset: store.dataset, name, v }), alt: '', loading: 'lazy' }));
}

const remedyName = ({ remedy }) => t(`dataset.remedy.${remedy.replace(':', '_')}`);
