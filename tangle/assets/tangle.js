// Turns every `<<name>>` in a woven fragment into a link to where the name is defined.
// The links are in the page already, below the code; without this script a reader uses those. And opens what is folded when a
// link leads to it, and on paper.
(function () {
    'use strict';

    const reference = /^[ \t]*(<<[ \t]*(.+?)[ \t]*>>)[ \t]*$/gm;

    // The text nodes of an element, with the place of each in its text.
    function textNodes(element) {
        const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
        const nodes = [];
        let start = 0;
        while (walker.nextNode()) {
            const node = walker.currentNode;
            nodes.push({ node, start, end: start + node.data.length });
            start += node.data.length;
        }
        return nodes;
    }

    // A range over a stretch of the text, whatever elements the highlighter has put into it.
    function rangeOver(element, from, to) {
        const range = document.createRange();
        for (const { node, start, end } of textNodes(element)) {
            if (start <= from && from < end) {
                range.setStart(node, from - start);
            }
            if (start < to && to <= end) {
                range.setEnd(node, to - start);
            }
        }
        return range;
    }

    function link(fragment) {
        const code = fragment.querySelector('pre code');
        if (!code) {
            return;
        }
        const targets = new Map();
        for (const anchor of fragment.querySelectorAll('a[data-tangle-reference]')) {
            targets.set(anchor.dataset.tangleReference, anchor.getAttribute('href'));
        }
        // From the last to the first, so that places before a change stay valid.
        for (const match of [...code.textContent.matchAll(reference)].reverse()) {
            const href = targets.get(match[2]);
            if (href === undefined) {
                continue;
            }
            const from = match.index + match[0].indexOf('<<');
            const range = rangeOver(code, from, from + match[1].length);
            const anchor = document.createElement('a');
            anchor.className = 'tangle-reference';
            anchor.href = href;
            anchor.textContent = match[1];
            range.deleteContents();
            range.insertNode(anchor);
        }
    }

    // Whoever follows a link to plumbing wants to see it.
    function open() {
        const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
        if (target && target.matches('details.tangle')) {
            target.open = true;
            target.scrollIntoView();
        }
    }

    // Paper cannot be asked.
    function openAll() {
        document.querySelectorAll('details.tangle').forEach((details) => {
            details.open = true;
        });
    }

    document.querySelectorAll('.tangle').forEach(link);
    window.addEventListener('beforeprint', openAll);
    window.addEventListener('hashchange', open);
    open();
})();
