// Paints which parts of a picture are learnt. On the screen the parts that are not are dark; in the file white is learnt.
//
// What is painted is one layer, black where nothing is learnt and transparent elsewhere.

import { address, put, remove } from './api.js';
import { button, fill, h } from './dom.js';
import { problem, toast } from './notices.js';
import { t } from './words.js';

const LONGEST = 2048;
/** px of the layer's longest side; the file gets the size of the picture. */
const SAMPLE = 64;
/** Whether the section is open: it stays so from picture to picture. */
let opened = false;

export const closeNext = () => { opened = false; };

/** A closed section for the side of the viewer; opened, it puts a layer over the picture on `stage`. */
export function painter(stage, entry, store) {
    const { dataset } = store, { name, width, height } = entry;
    const scale = Math.min(1, LONGEST / Math.max(width, height));
    const layer = h('canvas', { class: 'viewer-mask', width: Math.max(1, Math.round(width * scale)), height: Math.max(1, Math.round(height * scale)), 'aria-label': t('dataset.mask.canvas') });
    const context = layer.getContext('2d', { willReadFrequently: true }), brush = h('div', { class: 'viewer-brush', hidden: true });
    const body = h('div', { class: 'viewer-mask-tools' }), share = h('p', { class: 'room-hint', role: 'status' });
    const element = h('details', { class: 'viewer-section', open: opened }, h('summary', {}, t('dataset.mask.title'), entry.masked && h('span', { class: 'room-flag masked' }, t('dataset.flag.masked_short'))), body);
    let learns = false, size = 12, changed = false, ready = null;

    // ---- the layer ----

    const whole = (operation, alpha = 1) => {
        context.globalCompositeOperation = operation;
        context.globalAlpha = alpha;
        context.fillRect(0, 0, layer.width, layer.height);
        context.globalAlpha = 1;
        touched();
    };
    const line = (from, to) => {
        Object.assign(context, { globalCompositeOperation: learns ? 'destination-out' : 'source-over', lineWidth: thickness(), lineCap: 'round', lineJoin: 'round' });
        context.beginPath();
        context.moveTo(...from);
        context.lineTo(to[0], to[1] + 0.01);  // a line of no length draws nothing
        context.stroke();
    };
    const thickness = () => Math.max(1, (size / 100) * Math.max(layer.width, layer.height));
    const touched = () => {
        changed = true;
        save.disabled = false;
        tell();
    };
    const tell = () => {
        const learnt = Math.round(100 * learntShare(layer));
        fill(share, learnt === 0 ? t('dataset.mask.nothing_learnt') : learnt === 100 && !changed ? t('dataset.mask.all_learnt') : t('dataset.mask.learnt', { percent: learnt }));
        share.classList.toggle('bad', learnt === 0);
    };

    // ---- the hand ----

    const place = ({ clientX, clientY }) => {
        const { left, top, width: wide, height: high } = layer.getBoundingClientRect();
        return [((clientX - left) * layer.width) / wide, ((clientY - top) * layer.height) / high];
    };
    const follow = (event) => {
        const { left, top, width: wide } = layer.getBoundingClientRect(), across = (thickness() * wide) / layer.width;
        brush.hidden = event.pointerType === 'touch';
        Object.assign(brush.style, { left: `${event.clientX - left}px`, top: `${event.clientY - top}px`, width: `${across}px`, height: `${across}px` });
    };
    layer.addEventListener('pointerdown', (event) => {
        if (event.button !== 0) return;
        event.preventDefault();
        layer.setPointerCapture(event.pointerId);
        let last = place(event);
        line(last, last);
        const move = (at) => {
            if (at.pointerId !== event.pointerId) return;
            for (const each of at.getCoalescedEvents?.() ?? [at]) {
                const next = place(each);
                line(last, next);
                last = next;
            }
        };
        const end = (at) => {
            if (at.pointerId !== event.pointerId) return;
            layer.removeEventListener('pointermove', move);
            layer.removeEventListener('pointerup', end);
            layer.removeEventListener('pointercancel', end);
            touched();
        };
        layer.addEventListener('pointermove', move);
        layer.addEventListener('pointerup', end);
        layer.addEventListener('pointercancel', end);
    });
    layer.addEventListener('pointermove', follow);
    layer.addEventListener('pointerleave', () => { brush.hidden = true; });

    // ---- the tools ----

    const ways = [['leave_out', false], ['learn', true]].map(([label, value]) => button(t(`dataset.mask.${label}`), () => use(value), { 'aria-pressed': String(value === learns), icon: 'brush' }));
    const use = (value) => {
        learns = value;
        ways.forEach((each, at) => each.setAttribute('aria-pressed', String((at === 1) === value)));
    };
    const slider = h('input', { type: 'range', min: 1, max: 50, value: size, 'aria-label': t('dataset.mask.size') });
    slider.addEventListener('input', () => { size = Number(slider.value); });
    const save = button(t('dataset.mask.save'), () => keep(), { kind: 'primary', disabled: true });
    fill(body,
        h('p', { class: 'room-hint' }, t('dataset.mask.hint')),
        h('div', { class: 'viewer-buttons', role: 'group', 'aria-label': t('dataset.mask.tool') }, ways),
        h('label', { class: 'room-field row' }, h('span', {}, t('dataset.mask.size')), slider),
        h('div', { class: 'viewer-buttons' },
            button(t('dataset.mask.everything'), () => whole('destination-out'), { kind: 'small' }),
            button(t('dataset.mask.clear'), () => { whole('source-over'); use(true); }, { kind: 'small' }),
            button(t('dataset.mask.invert'), () => whole('xor'), { kind: 'small' })),
        share,
        h('div', { class: 'viewer-buttons' }, save, entry.masked && button(t('dataset.mask.remove'), () => drop(), { kind: 'link' })));

    // ---- the file ----

    const load = async () => {
        const reply = await fetch(address('mask', { dataset, name }));
        if (reply.status === 200) await lay(await reply.blob(), context);
        tell();
    };
    const keep = async () => {
        if (!changed) return;
        changed = false;
        save.disabled = true;
        try {
            const told = await put('mask', { dataset, name }, await png(layer, width, height), { type: 'image/png' });
            toast(t('dataset.mask.saved'), { seconds: 4 });
            if (store.dataset === dataset) await store.changed([name], told.history);
        } catch (error) {
            changed = true;
            save.disabled = false;
            problem(error);
        }
    };
    const drop = async () => {
        try {
            const told = await remove('mask', { dataset, name });
            changed = false;
            await store.changed([name], told.history);
        } catch (error) {
            problem(error);
        }
    };

    element.addEventListener('toggle', () => {
        opened = element.open;
        if (element.open) {
            stage.append(layer, brush);
            ready ??= load().catch(problem);
        } else {
            layer.remove();
            brush.remove();
            keep();
        }
    });
    return {
        element,
        /** Saves what was painted, and takes the layer away. */
        leave() {
            layer.remove();
            brush.remove();
            keep();
        },
    };
}

/** How much of a layer is learnt, from 0 to 1. */
function learntShare(layer) {
    const small = h('canvas', { width: SAMPLE, height: SAMPLE }), context = small.getContext('2d', { willReadFrequently: true });
    context.drawImage(layer, 0, 0, SAMPLE, SAMPLE);
    const { data } = context.getImageData(0, 0, SAMPLE, SAMPLE);
    let dark = 0;
    for (let at = 3; at < data.length; at += 4) dark += data[at];
    return 1 - dark / (255 * SAMPLE * SAMPLE);
}

/** Puts a mask's file on the layer. */
async function lay(file, context) {
    const { width, height } = context.canvas, picture = await createImageBitmap(file);
    const grey = h('canvas', { width, height }).getContext('2d', { willReadFrequently: true });
    grey.drawImage(picture, 0, 0, width, height);
    const pixels = grey.getImageData(0, 0, width, height), { data } = pixels;
    for (let at = 0; at < data.length; at += 4) {
        data[at + 3] = 255 - data[at];
        data[at] = data[at + 1] = data[at + 2] = 0;
    }
    context.putImageData(pixels, 0, 0);
}

/** The file of a layer: as large as the picture, white where it is transparent. */
function png(layer, width, height) {
    const file = h('canvas', { width, height }), context = file.getContext('2d');
    context.fillStyle = '#fff';
    context.fillRect(0, 0, width, height);
    context.drawImage(layer, 0, 0, width, height);
    return new Promise((resolve) => file.toBlob(resolve, 'image/png'));
}
