// SPDX-License-Identifier: MIT
// One message of the talk on the page.
import { AnswerText, copyButton } from './answer.js';

function element(name, className, parent) {
    const e = document.createElement(name);
    if (className) e.className = className;
    parent?.append(e);
    return e;
}

export function userMessage(log, text) {
    const root = element('article', 'message user', log);
    root.setAttribute('aria-label', 'You');
    element('div', 'text', root).textContent = text;
    return root;
}

export class AnswerMessage {
    constructor(log) {
        this.root = element('article', 'message answer', log);
        this.root.setAttribute('aria-label', 'Answer');
        this.body = new AnswerText(element('div', 'text', this.root));
        this.foot = element('div', 'foot', this.root);
        this.spare = null; // the last cycle of the reasoning: its end may be the answer's beginning
    }

    get text() { return this.body.text; }
    get reasoning() { return this.thought?.data; }

    begin() { this.root.setAttribute('aria-busy', 'true'); }

    addText(more) {
        if (this.spare) this.body.origins.add(this.spare);
        this.spare = null;
        this.body.append(more);
    }

    addReasoning(more) {
        if (!this.thought) {
            const fold = document.createElement('details');
            fold.className = 'reasoning';
            this.title = element('summary', '', fold);
            this.title.textContent = 'Reasoning…';
            this.thought = document.createTextNode('');
            element('div', '', fold).append(this.thought);
            this.body.element.before(fold);
        }
        this.thought.appendData(more);
    }

    addCycle(cycle) {
        if (this.thought && !this.text) this.spare = cycle;
        else this.body.origins.add(cycle);
    }

    render() {
        this.body.render(false);
        if (this.title && this.text) this.title.textContent = 'Reasoning';
    }

    /** No more will come; facts stand below the answer. */
    end(facts) {
        this.body.render(true);
        if (this.title) this.title.textContent = 'Reasoning';
        this.root.removeAttribute('aria-busy');
        this.foot.replaceChildren(copyButton('Copy', () => this.text), facts);
    }
}
