// The bucket preview: in which sizes the pictures would be trained, how many go into each, and what is cut off them.

import { get, post } from './api.js';
import { button, debounced, fill, h, icon, set } from './dom.js';
import { problem } from './notices.js';
import { cutsOn, showCuts } from './cuts.js';
import { USUAL, wished, wishFor } from './training.js';
import { t } from './words.js';

const FIELDS = [['resolution', 8, 4096, 8], ['batch_size', 1, 256, 1], ['minimum', 8, 4096, 8], ['maximum', 8, 8192, 8], ['step', 8, 512, 8]];
const SHAPE = 34;
/** px of the longest side of the drawing of a bucket. */

export function mount(element, store) {
    const form = settings(store), result = h('div', { class: 'room-buckets', role: 'status', 'aria-busy': 'false' });
    const cuts = h('input', { type: 'checkbox', checked: cutsOn() });
    cuts.addEventListener('change', () => showCuts(store, cuts.checked));
    fill(element,
        h('p', { class: 'room-hint' }, t('dataset.buckets.what')), form.element, result,
        h('label', { class: 'room-switch' }, cuts, h('span', {}, t('dataset.buckets.show_cuts'))));
    let turn = 0;
    const show = async () => {
        const asked = ++turn;
        if (!store.dataset) return;
        try {
            const plan = await post('buckets', { ...wished(), dataset: store.dataset });
            if (asked !== turn) return;
            form.usual(plan.rule);
            draw(result, plan, store);
        } catch (error) {
            if (asked === turn) fill(result, h('p', { class: 'room-trouble', role: 'alert' }, [error.message, error.todo].filter(Boolean).join(' ')));
        }
    };
    const soon = debounced(show, 250);
    store.on('training', soon);
    store.on('opened', soon);
    store.on('info', soon);
    store.on('query', () => mark(result, store));
    show();
}

/** The wishes as fields; what is left at the model's own shows what that is. */
function settings(store) {
    const model = h('select', { class: 'room-input' }, h('option', { value: wished().model }, wished().model));
    model.addEventListener('change', () => wishFor(store, { model: model.value }));
    get('models').then(({ models }) => {
        const known = models.includes(wished().model) ? models : [wished().model, ...models];
        fill(model, known.map((name) => h('option', { value: name, selected: name === wished().model }, name)));
    }).catch(problem);
    const numbers = new Map(FIELDS.map(([name, min, max, step]) => {
        const own = name === 'batch_size' ? false : !wished()[name];
        const input = h('input', { type: 'number', class: 'room-input', min, max, step, inputmode: 'numeric', value: own ? '' : wished()[name] });
        input.addEventListener('input', () => {
            const value = Math.round(Number(input.value));
            set(input, { 'aria-invalid': input.value !== '' && !(value >= 1 && value <= max) ? 'true' : null });
            if (!input.hasAttribute('aria-invalid')) wishFor(store, { [name]: input.value === '' ? USUAL[name] : value });
        });
        return [name, input];
    }));
    const upscale = h('input', { type: 'checkbox', checked: wished().no_upscale });
    upscale.addEventListener('change', () => wishFor(store, { no_upscale: upscale.checked }));
    const field = (name) => h('label', { class: 'room-field' }, h('span', {}, t(`dataset.buckets.${name}`)), numbers.get(name));
    return {
        element: h('div', { class: 'room-settings' },
            h('label', { class: 'room-field wide' }, h('span', {}, t('dataset.buckets.model')), model),
            field('resolution'), field('batch_size'),
            h('details', { class: 'wide' }, h('summary', {}, t('dataset.buckets.more')),
                h('div', { class: 'room-settings' }, field('minimum'), field('maximum'), field('step')),
                h('label', { class: 'room-switch' }, upscale, h('span', {}, t('dataset.buckets.no_upscale'))))),
        usual(rule) {
            const own = { resolution: rule.resolution, minimum: rule.minimum || Math.max(rule.step, rule.resolution / 2), maximum: rule.maximum || rule.resolution * 2, step: rule.step };
            for (const [name, value] of Object.entries(own)) numbers.get(name).placeholder = String(value);
        },
    };
}

function draw(result, plan, store) {
    const most = Math.max(1, ...plan.buckets.map(({ pictures }) => pictures));
    const longest = Math.max(1, ...plan.buckets.flatMap(({ width, height }) => [width, height]));
    fill(result,
        h('p', { class: 'room-sum' }, plan.pictures
            ? t('dataset.buckets.sum', { pictures: plan.pictures, buckets: plan.buckets.length, batches: plan.batches, size: wished().batch_size })
            : t('dataset.buckets.nothing'), !plan.whole && ` ${t('dataset.buckets.reading')}`),
        plan.small > 0 && h('p', { class: 'room-note warn' }, t('dataset.buckets.small_hint', { count: plan.small, size: wished().batch_size })),
        plan.refused.length > 0 && h('details', { class: 'room-told bad' }, h('summary', {}, t('dataset.buckets.refused', { count: plan.refused.length })),
            h('ul', {}, plan.refused.slice(0, 50).map(({ name, reason }) => h('li', {}, h('b', {}, name), h('span', {}, reason))))),
        h('ul', { class: 'bucket-list', 'aria-label': t('dataset.panel.buckets') }, plan.buckets.map((bucket) => row(bucket, most, longest, store))),
        plan.buckets.length > 0 && h('p', { class: 'room-hint' }, t('dataset.buckets.click')));
    mark(result, store);
}

function row({ width, height, pictures, batches, small }, most, longest, store) {
    const size = `${width}x${height}`, scale = SHAPE / longest;
    const shape = h('i', { class: 'bucket-shape', style: `width: ${Math.max(4, width * scale)}px; height: ${Math.max(4, height * scale)}px` });
    const choose = () => store.setQuery({ bucket: store.query.bucket === size ? null : size });
    return h('li', {}, h('button', { type: 'button', class: `bucket ${small ? 'small' : ''}`, 'data-bucket': size, onclick: choose },
        h('span', { class: 'bucket-drawing', 'aria-hidden': 'true' }, shape),
        h('span', { class: 'bucket-size' }, `${width} × ${height}`, small && h('em', {}, t('dataset.buckets.small'))),
        h('span', { class: 'bucket-bar', 'aria-hidden': 'true' }, h('i', { style: `width: ${(100 * pictures) / most}%` })),
        h('span', { class: 'bucket-count' }, t('dataset.buckets.count', { pictures, batches }))));
}

/** Shows which bucket the grid is filtered by. */
function mark(result, store) {
    for (const each of result.querySelectorAll('.bucket')) each.setAttribute('aria-pressed', String(each.dataset.bucket === store.query.bucket));
}
