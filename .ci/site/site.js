/* What scrolls sideways can be scrolled with the keyboard; the theme makes these boxes as a table comes into sight. */
const reach = () => {
  for (const box of document.querySelectorAll(".md-typeset__scrollwrap:not([tabindex]), pre code:not([tabindex])")) {
    box.tabIndex = 0;
  }
};
new MutationObserver(reach).observe(document.documentElement, { childList: true, subtree: true });
reach();
