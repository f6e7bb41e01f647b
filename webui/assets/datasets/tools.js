// What can be done to the picture in the viewer: crop, turn, convert, take out; and looking at what it was before.

import { address } from './api.js';
import { centred } from './crop_box.js';
import { cropFrame } from './crop_frame.js';
import { button, fill, h, icon } from './dom.js';
import { exclude } from './grid.js';
import * as history from './history.js';
import { t } from './words.js';

/** The tools for what `viewer` shows. `look`: the answer of GET /look; `placed`: the picture in its bucket. */
export function tools(viewer, look, placed) {
    const { store, stage } = viewer, { entry, original, extensions } = look, { name } = entry;
    const panel = h('div', { class: 'viewer-crop' }), element = h('div', { class: 'viewer-tools' });
    const able = !store.readOnly && !entry.excluded && entry.width > 0;
    let frame = null;

    const endCrop = () => {
        frame?.remove();
        frame = null;
        fill(panel);
        viewer.showCut();
    };
    const beginCrop = () => {
        if (frame) return endCrop();
        viewer.showCut(false);
        frame = cropping(panel, stage, entry, placed, {
            apply: async (box) => { await viewer.alter('crop', { name, box }) && history.done(store, t('dataset.viewer.cropped')); },
            cancel: endCrop,
        });
    };
    const turn = (degrees) => viewer.alter('rotate', { names: [name], degrees });
    const convert = async (extension) => {
        const told = await viewer.alter('convert', { names: [name], extension });
        if (told) history.done(store, t(told.first_frame.length ? 'dataset.viewer.first_frame' : 'dataset.viewer.converted', { name: told.names[0] }));
    };
    const own = name.split('.').pop().toLowerCase().replace('jpeg', 'jpg');
    const formats = h('select', { class: 'room-button', 'aria-label': t('dataset.viewer.convert') },
        h('option', { value: '', selected: true, disabled: true, hidden: true }, t('dataset.viewer.convert')),
        extensions.filter((each) => each !== own).map((each) => h('option', { value: each }, each.toUpperCase())));
    formats.addEventListener('change', () => convert(formats.value));

    fill(element,
        able && h('div', { class: 'viewer-buttons' },
            button(t('dataset.viewer.crop'), beginCrop, { icon: 'crop' }),
            button(t('dataset.viewer.rotate_left'), () => turn(270), { icon: 'rotate', bare: true, kind: 'mirrored' }),
            button(t('dataset.viewer.rotate_right'), () => turn(90), { icon: 'rotate', bare: true }),
            formats,
            original && originalButton(viewer, entry)),
        !store.readOnly && h('div', { class: 'viewer-buttons' },
            button(t(entry.excluded ? 'dataset.include' : 'dataset.exclude'), () => exclude(store, [name]), { kind: entry.excluded ? '' : 'bad' }),
            undoButton(store)),
        panel);
    return { element, leave: endCrop };
}

function undoButton(store) {
    const what = history.named(store.info?.history?.undo);
    return what && button(t('dataset.undo'), () => history.undo(store), { icon: 'undo', title: t('dataset.named_step', { label: t('dataset.undo'), text: what }) });
}

/** Shows what the picture was before it was first altered, while it is held or until it is pressed again. */
function originalButton(viewer, { name, stamp }) {
    const { dataset } = viewer.store, { picture, stage } = viewer, now = picture.src, aspect = stage.style.getPropertyValue('--aspect');
    const toggle = button(t('dataset.viewer.original'), () => {
        const shown = toggle.getAttribute('aria-pressed') === 'true';
        toggle.setAttribute('aria-pressed', String(!shown));
        viewer.showCut(shown);
        picture.src = shown ? now : address('original', { dataset, name, v: stamp });
        if (shown) stage.style.setProperty('--aspect', aspect);
        else picture.addEventListener('load', () => stage.style.setProperty('--aspect', picture.naturalWidth / picture.naturalHeight), { once: true });
    }, { icon: 'eye', 'aria-pressed': 'false' });
    return toggle;
}

/** The frame on the picture with its settings below the buttons. */
function cropping(panel, stage, entry, placed, { apply, cancel }) {
    const size = [entry.width, entry.height];
    const numbers = ['left', 'top', 'width', 'height'].map((side) => {
        const input = h('input', { type: 'number', class: 'room-input', min: 0, step: 1, inputmode: 'numeric' });
        input.addEventListener('change', () => frame.set(typed()));
        return { side, input };
    });
    const typed = () => {
        const [left, top, width, height] = numbers.map(({ input }) => Number(input.value) || 0);
        return [left, top, left + Math.max(1, width), top + Math.max(1, height)];
    };
    const frame = cropFrame(stage, size, ([left, top, right, bottom]) => {
        [left, top, right - left, bottom - top].forEach((value, at) => { numbers[at].input.value = value; });
    });
    const aspects = [['free', null], ['square', 1], ['own', size[0] / size[1]], ...(placed ? [['bucket', placed.bucket[0] / placed.bucket[1]]] : [])];
    const presets = aspects.map(([label, aspect]) => button(t(`dataset.viewer.aspect.${label}`), (event) => {
        for (const each of presets) each.setAttribute('aria-pressed', String(each === event.currentTarget));
        frame.shape(aspect);
    }, { kind: 'small', 'aria-pressed': String(aspect === null) }));
    frame.set(centred(size, null).map((side, at) => Math.round(side + (at < 2 ? 0.08 : -0.08) * size[at % 2])));
    fill(panel,
        h('div', { class: 'viewer-presets', role: 'group', 'aria-label': t('dataset.viewer.aspects') }, presets),
        h('div', { class: 'viewer-numbers' }, numbers.map(({ side, input }) => h('label', {}, h('span', {}, t(`dataset.viewer.${side}`)), input))),
        h('div', { class: 'viewer-buttons' }, button(t('dataset.viewer.apply_crop'), () => apply(frame.box), { kind: 'primary', icon: 'crop' }), button(t('dataset.viewer.cancel'), cancel)),
        h('p', { class: 'room-hint' }, t('dataset.viewer.kept_hint')));
    return frame;
}
