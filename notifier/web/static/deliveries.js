/* The number of ticked messages on the button that sends them again, and a tick box for all of them. */
"use strict";
(() => {
  const boxes = () => [...document.querySelectorAll("#messages tbody input[name=id]")];
  const show = () => {
    const all = boxes();
    const ticked = all.filter((box) => box.checked).length;
    for (const text of document.querySelectorAll("[data-ticked]")) {
      const wanted = ticked ? text.dataset.ticked.replace("{n}", ticked) : text.dataset.none;
      if (text.textContent !== wanted) text.textContent = wanted;
    }
    const whole = document.getElementById("tick-all");
    if (!whole) return;
    whole.checked = ticked > 0 && ticked === all.length;
    whole.indeterminate = ticked > 0 && ticked < all.length;
  };
  document.addEventListener("change", (event) => {
    if (event.target.id === "tick-all") for (const box of boxes()) box.checked = event.target.checked;
    if (event.target.closest("#messages")) show();
  });
  document.addEventListener("htmx:finally:request", show);
  addEventListener("pageshow", show);
  show();
})();
