// SPDX-License-Identifier: MIT
// Shows an answer while it comes: paragraphs and code blocks, and where each token came from. Whatever the
// model writes becomes text nodes, never markup.

const kept_runs = 20000; // marks of origin beyond this are dropped: the text itself stays complete

/** Which piece of a text came from where: tokens of the cycles are found again in what was streamed. */
export class Origins {
    constructor() {
        this.runs = []; // [{end, source}] sorted; each begins where the one before ends
        this.waiting = []; // tokens whose text has not come yet
        this.at = 0;
    }

    add(cycle) {
        const accepted = cycle.nodes.filter(n => n.state === 'accepted');
        this.waiting.push(...accepted.map(n => [n.text, n.source]));
        if (cycle.next?.text) this.waiting.push([cycle.next.text, 'target']);
    }

    mark(end, source) {
        const last = this.runs.at(-1);
        if (last && last.source === source) last.end = end;
        else if (this.runs.length < kept_runs) this.runs.push({ end, source });
        this.at = end;
    }

    /** Follow the text. A token that is not found (half a character, a control token) is passed over. */
    follow(text) {
        let done = 0;
        for (; done < this.waiting.length; done++) {
            const [token, source] = this.waiting[done];
            const found = this.find(text, done, token), may_come = text.length < this.at + token.length + 16;
            if (found < 0 && may_come && this.waiting.length - done < 512) break;
            if (found < 0) continue;
            if (found > this.at) this.mark(found, '');
            this.mark(found + token.length, source);
        }
        this.waiting.splice(0, done);
    }

    /** Position of a waiting token: near by, or, after a gap, where it and the next ones stand in a row. */
    find(text, index, token) {
        const found = token ? text.indexOf(token, this.at) : -1;
        if (found < 0 || found - this.at <= 16) return found;
        const row = this.waiting.slice(index, index + 5).map(([t]) => t).join('');
        return row.length >= 12 && row.length > token.length ? text.indexOf(row, this.at) : -1;
    }

    /** Append text[from..to) to element, one span for each run. */
    fill(element, text, from, to) {
        let low = 0, high = this.runs.length;
        while (low < high) {
            const middle = (low + high) >> 1;
            if (this.runs[middle].end <= from) low = middle + 1;
            else high = middle;
        }
        for (let at = from; at < to; low++) {
            const run = this.runs[low];
            const end = run ? Math.min(run.end, to) : to;
            const piece = document.createTextNode(text.slice(at, end));
            if (run?.source) {
                const span = document.createElement('span');
                span.className = `o-${run.source}`;
                span.append(piece);
                element.append(span);
            } else element.append(piece);
            at = end;
        }
    }
}

export function copyButton(label, text) {
    const button = document.createElement('button');
    button.type = 'button';
    button.textContent = label;
    button.addEventListener('click', async () => {
        button.textContent = await copy(text()) ? 'Copied' : 'Not allowed';
        setTimeout(() => { button.textContent = label; }, 1500);
    });
    return button;
}

async function copy(text) {
    try {
        await navigator.clipboard.writeText(text);
        return true;
    } catch { // pages that do not come over https or from localhost have no clipboard: the old way
        const area = document.createElement('textarea');
        area.value = text;
        area.className = 'hidden';
        document.body.append(area);
        area.select();
        const ok = document.execCommand('copy');
        area.remove();
        return ok;
    }
}

/** Lines of an answer become blocks: paragraphs end at an empty line, code stands between lines of ```.
 * Only the last block changes while text is appended, so a long answer costs no more than a short one. */
export class AnswerText {
    constructor(element) {
        this.element = element;
        this.text = '';
        this.origins = new Origins();
        this.start = 0; // of the open block
        this.fence = null; // what ends the code block: its own backticks
        this.open = null; // element of the open block
    }

    append(more) { this.text += more; }

    /** Bring what is shown up to date. last: no more will come. */
    render(last) {
        this.origins.follow(this.text);
        for (;;) {
            const end = this.blockEnd(last);
            if (end < 0) break;
            this.draw(end);
            this.open = null;
            this.start = end;
        }
        if (this.start < this.text.length) this.draw(this.text.length);
    }

    /** Where the open block ends, or -1 while that is not known; changes this.fence. */
    blockEnd(last) {
        for (let line = this.start; line < this.text.length;) {
            const feed = this.text.indexOf('\n', line);
            if (feed < 0 && !last) return -1;
            const end = feed < 0 ? this.text.length : feed + 1;
            const mark = /^ {0,3}(```+)([^`\n]*)\n?$/.exec(this.text.slice(line, Math.min(end, line + 200)));
            const first = line === this.start;
            if (this.fence === null) {
                if (mark && !first) return line; // a paragraph ends before a code block
                if (mark) this.fence = mark[1];
                else if (end === line + 1) return end; // an empty line
            } else if (mark && !first && mark[1].length >= this.fence.length && !mark[2].trim()) {
                this.fence = null;
                return end;
            }
            line = end;
        }
        return last && this.start < this.text.length ? this.text.length : -1;
    }

    draw(end) {
        const text = this.text.slice(this.start, end);
        const code = /^ {0,3}(```+)([^`\n]*)\n/.exec(text);
        if (code) return this.drawCode(text, code);
        if (!this.open || this.open.tagName !== 'P') this.replace(document.createElement('p'));
        this.open.replaceChildren();
        const stop = end - (text.endsWith('\n\n') ? 2 : text.endsWith('\n') ? 1 : 0);
        this.inline(this.open, this.start, Math.max(stop, this.start));
    }

    replace(element) {
        if (this.open) this.open.remove();
        this.open = element;
        this.element.append(element);
    }

    /** `code` within a paragraph. */
    inline(element, from, to) {
        const pattern = /`([^`\n]{1,200})`/g;
        const text = this.text.slice(from, to);
        let at = 0;
        for (const match of text.matchAll(pattern)) {
            this.origins.fill(element, this.text, from + at, from + match.index);
            const code = document.createElement('code');
            at = match.index + match[0].length;
            this.origins.fill(code, this.text, from + match.index + 1, from + at - 1);
            element.append(code);
        }
        this.origins.fill(element, this.text, from + at, to);
    }

    drawCode(text, opening) {
        if (!this.open || this.open.tagName !== 'DIV') {
            const kinds = ['div', 'header', 'span', 'pre'];
            const [block, head, name, pre] = kinds.map(kind => document.createElement(kind));
            block.className = 'block';
            name.textContent = opening[2].trim().slice(0, 40) || 'code';
            pre.tabIndex = 0; // wide code scrolls: the keyboard must reach it
            pre.setAttribute('aria-label', 'Code');
            pre.append(document.createElement('code'));
            head.append(name, copyButton('Copy', () => pre.textContent));
            block.append(head, pre);
            this.replace(block);
        }
        const body = text.slice(opening[0].length);
        const closing = new RegExp(`(^|\\n) {0,3}${opening[1]}\`*[ \\t]*\\n?$`).exec(body);
        const length = closing ? closing.index : body.replace(/\n$/, '').length;
        const code = this.open.querySelector('code');
        code.replaceChildren();
        const from = this.start + opening[0].length;
        this.origins.fill(code, this.text, from, from + length);
    }
}
