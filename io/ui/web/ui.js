'use strict';
(() => {
  const now = document.getElementById('now');
  const silent = document.getElementById('silent');

  // become makes a node like another one, and leaves alone what is the same: what somebody
  // has selected stays selected, and nothing jumps.
  function become(old, fresh) {
    if (old.isEqualNode(fresh)) return;
    if (old.nodeName !== fresh.nodeName) {
      old.replaceWith(document.importNode(fresh, true));
      return;
    }
    if (old.nodeType !== Node.ELEMENT_NODE) {
      old.data = fresh.data;
      return;
    }
    for (const a of Array.from(old.attributes)) if (!fresh.hasAttribute(a.name)) old.removeAttribute(a.name);
    for (const a of fresh.attributes) if (old.getAttribute(a.name) !== a.value) old.setAttribute(a.name, a.value);
    children(old, fresh);
  }

  function children(old, fresh) {
    const want = Array.from(fresh.childNodes);
    while (old.childNodes.length > want.length) old.lastChild.remove();
    want.forEach((node, i) => {
      if (old.childNodes[i]) become(old.childNodes[i], node);
      else old.append(document.importNode(node, true));
    });
  }

  async function look() {
    if (document.hidden) return;
    try {
      const answer = await fetch('now', { cache: 'no-store', signal: AbortSignal.timeout(15000) });
      if (!answer.ok) throw new Error(String(answer.status));
      children(now, new DOMParser().parseFromString(await answer.text(), 'text/html').body);
      silent.hidden = true;
    } catch {
      silent.hidden = false;
    }
  }

  // One look after the other, however long it takes.
  (async () => {
    for (;;) {
      await new Promise((done) => setTimeout(done, 1000));
      await look();
    }
  })();
})();
