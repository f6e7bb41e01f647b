// Calls to the routes beside this file. A refusal is thrown as `Refused`, with the sentences in the visitor's language.

const ROOT = new URL('../', import.meta.url);

export class Refused extends Error {
    constructor(status, told) {
        super(told.message);
        Object.assign(this, { status, code: told.code ?? '', todo: told.todo ?? '', values: told.values ?? {} });
    }
}

/** The address of a route, for example address('thumb', {dataset, name, v}). */
export function address(path, values = {}) {
    const url = new URL(path, ROOT);
    for (const [name, value] of Object.entries(values)) if (value !== undefined && value !== null) url.searchParams.set(name, value);
    return url.href;
}

export const get = (path, values, { signal } = {}) => call('GET', address(path, values), { signal });

export const post = (path, body = {}, { signal } = {}) =>
    call('POST', address(path), { signal, body: JSON.stringify(body), headers: { 'content-type': 'application/json' } });

/** Sends raw bytes, a Blob or text. */
export const put = (path, values, body, { signal, type = 'application/octet-stream' } = {}) =>
    call('PUT', address(path, values), { signal, body, headers: { 'content-type': type } });

export const remove = (path, values, { signal } = {}) => call('DELETE', address(path, values), { signal });

async function call(method, url, options) {
    let reply;
    try {
        reply = await fetch(url, { method, credentials: 'same-origin', ...options });
    } catch (error) {
        if (error.name === 'AbortError') throw error;
        throw new Refused(0, { code: 'page.offline', message: '' });
    }
    const told = (reply.headers.get('content-type') ?? '').includes('json') ? await reply.json() : {};
    if (!reply.ok) throw new Refused(reply.status, told);
    return told;
}
