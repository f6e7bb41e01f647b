// What a visitor drops or chooses, as a flat list of {name, file}: names are paths with slashes, as the folders had them.

/** Reads a DataTransfer, folders with everything in them. It must be called at once in the event: afterwards the transfer is empty. */
export function dropped(transfer) {
    const items = [...transfer.items].filter((item) => item.kind === 'file');
    const entries = items.map((item) => item.webkitGetAsEntry?.() ?? item.getAsFile()).filter(Boolean);
    return Promise.all(entries.map((entry) => (entry instanceof File ? [{ name: entry.name, file: entry }] : walked(entry, '')))).then((found) => found.flat());
}

/** The files of an `<input type="file">`. */
export const chosen = (input) => [...input.files].map((file) => ({ name: file.webkitRelativePath || file.name, file }));

/** Whether a drag carries files, and not text or a picture of the page itself. */
export const carriesFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes('Files');

async function walked(entry, place) {
    const name = place + entry.name;
    if (entry.isFile) return [{ name, file: await new Promise((resolve, reject) => entry.file(resolve, reject)) }];
    const found = [], reader = entry.createReader();
    for (let some; (some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject))).length;) {  // a hundred at a time
        for (const inner of some) found.push(...await walked(inner, `${name}/`));
    }
    return found;
}

export const isArchive = (name) => name.toLowerCase().endsWith('.zip');

/** A name for the dataset that these files would make: the folder's or the archive's; "" where neither says. */
export function proposedName(files) {
    const tops = new Set(files.map(({ name }) => (name.includes('/') ? name.split('/')[0] : '')));
    if (tops.size === 1 && !tops.has('')) return [...tops][0].replace(KOHYA, '');
    return files.length === 1 && isArchive(files[0].name) ? files[0].name.slice(0, -4) : '';
}

const KOHYA = /^\d+_/;

/**
 * The files without the folder that holds them all, since the dataset takes its place; a folder in Kohya's form (`20_robot`) and one
 * of the `concepts` that the dataset has stay.
 */
export function withoutTop(files, concepts = []) {
    let found = files;
    while (found.length) {
        const top = found[0].name.split('/')[0];
        if (KOHYA.test(top) || concepts.includes(top) || !found.every(({ name }) => name.startsWith(`${top}/`))) break;
        found = found.map(({ name, file }) => ({ name: name.slice(top.length + 1), file }));
    }
    return found;
}
