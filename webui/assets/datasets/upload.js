// Pictures from the visitor's machine: dropped anywhere in the room, or chosen. Where no dataset is open that could take them, a new
// one is made.

import { post } from './api.js';
import { button, fill, h, icon } from './dom.js';
import { carriesFiles, chosen, dropped, proposedName, withoutTop } from './dropped.js';
import { askText, dialog, problem, toast } from './notices.js';
import { arrived } from './report.js';
import { Sending } from './sending.js';
import { t } from './words.js';

const ACCEPTED = 'image/*,.avif,.txt,.caption,.json,.jsonl,.yaml,.zip';
let place = null, queue = Promise.resolve();

/** Makes the whole room a place to drop files on. */
export function mount(room, store) {
    const zone = h('div', { class: 'room-drop', hidden: true }, h('div', {}, icon('upload'), h('strong', {}), h('span', {}, t('dataset.drop_what'))));
    place = h('div', { class: 'room-sending' });
    room.append(zone, place);
    let depth = 0;
    const show = (by) => {
        depth = Math.max(0, depth + by);
        zone.hidden = depth === 0;
        fill(zone.querySelector('strong'), takes(store) ? t('dataset.upload.drop_here', { name: store.info.name }) : t('dataset.drop_new'));
    };
    room.addEventListener('dragenter', (event) => carriesFiles(event) && (event.preventDefault(), show(1)));
    room.addEventListener('dragleave', (event) => carriesFiles(event) && show(-1));
    room.addEventListener('dragover', (event) => {
        if (!carriesFiles(event)) return;
        event.preventDefault();
        event.dataTransfer.dropEffect = 'copy';
    });
    room.addEventListener('drop', (event) => {
        if (!carriesFiles(event)) return;
        event.preventDefault();
        show(-depth);
        dropped(event.dataTransfer).then((files) => bring(files, store)).catch(problem);
    });
}

/** Asks which pictures; `fresh` makes a new dataset of them. */
export function choose(store, { fresh = !takes(store) } = {}) {
    let shown = null;
    const pick = (folder) => () => {
        const input = h('input', { type: 'file', multiple: true, ...(folder ? { webkitdirectory: true } : { accept: ACCEPTED }) });
        input.addEventListener('change', () => {
            shown.close();
            bring(chosen(input), store, fresh).catch(problem);
        });
        input.click();
    };
    const folders = 'webkitdirectory' in document.createElement('input');
    shown = dialog(fresh ? t('dataset.upload.title_new') : t('dataset.upload.title', { name: store.info.name }), h('div', { class: 'room-choose' },
        h('div', { class: 'room-ways' },
            way('frames', t('dataset.upload.files'), t('dataset.upload.files_hint'), pick(false)),
            folders && way('folder', t('dataset.upload.folder'), t('dataset.upload.folder_hint'), pick(true))),
        h('p', { class: 'room-hint' }, t('dataset.upload.or_drop')),
        h('p', { class: 'room-hint' }, t('dataset.upload.what'))));
}

const way = (sign, title, hint, run) => h('button', { type: 'button', class: 'room-way', onclick: run }, icon(sign), h('strong', {}, title), h('span', {}, hint));

/** Takes files, into the open dataset if it can be changed, else into a new one whose name is asked for first. */
export async function bring(files, store, fresh = !takes(store)) {
    if (!files.length) return toast(t('dataset.upload.nothing'));
    if (!fresh) return send(store, store.dataset, withoutTop(files, store.info.concepts.map(({ folder }) => folder)));
    askText(t('dataset.upload.title_new'), t('dataset.new_name'), proposedName(files) || t('dataset.upload.new_name'), t('dataset.upload.create', { count: files.length }), async (name) => {
        const { dataset } = await post('create', { name });
        await store.open(dataset);
        send(store, dataset, withoutTop(files)).catch(problem);
    });
}

const takes = (store) => store.dataset !== null && !store.readOnly;

/** One upload after the other. */
function send(store, dataset, files) {
    queue = queue.then(() => sendNow(store, dataset, files)).catch((error) => {
        if (error.name === 'AbortError') toast(t('dataset.upload.cancelled'));
        else problem(error);
    });
    return queue;
}

async function sendNow(store, dataset, files) {
    const bar = h('progress', { max: 1, value: 0, 'aria-label': t('dataset.upload.running') }), said = h('span', { class: 'room-sent' });
    const sending = new Sending(dataset, files, () => show());
    const stop = button(t('dataset.upload.cancel'), () => sending.cancel(), {});
    const show = () => {
        const { done, bytes, size } = sending, all = size || 1;
        bar.value = Math.min(1, bytes / all);
        fill(said, done < files.length
            ? t('dataset.upload.progress', { done, total: files.length, sent: megabytes(Math.min(bytes, size)), size: megabytes(size) })
            : t('dataset.upload.placing'));
    };
    const leaving = (event) => event.preventDefault();
    show();
    fill(place, h('div', { class: 'room-progress' }, icon('upload'), h('div', {}, said, bar), stop));
    window.addEventListener('beforeunload', leaving);
    try {
        const report = await sending.run();
        if (store.dataset === dataset) await store.changed(null, report.history);
        arrived(report);
    } finally {
        window.removeEventListener('beforeunload', leaving);
        place.replaceChildren();
    }
}

const megabytes = (bytes) => {
    const small = bytes < 10 * 2 ** 20;
    return t('dataset.upload.megabytes', { count: Number((bytes / 2 ** 20).toFixed(small ? 1 : 0)) });
};
