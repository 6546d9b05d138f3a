// Choosing instances, to change many at once.
(function () {
  "use strict";
  // The choice survives that the list is drawn anew.
  var chosen = new Set();
  function ofMany(part) { return document.getElementById("many-" + part); }
  function boxes() { return Array.from(document.querySelectorAll("input[name=instance][form=many]")); }
  function count() {
    var shown = ofMany("count"), number = boxes().filter(function (each) { return each.checked; }).length;
    if (!shown) { return; }
    shown.textContent = number ? ": " + number + " chosen" : "";
    ofMany("page").checked = number > 0 && number === boxes().length;
    var bar = shown.closest("details"), was = bar.classList.contains("chosen");
    bar.classList.toggle("chosen", number > 0);
    if (!was || !number) { bar.open = number > 0 && matchMedia("(min-width: 40rem)").matches; }
  }
  function choose() {
    boxes().forEach(function (each) { each.checked = chosen.has(each.value); });
    count();
  }
  function fields() {
    var act = ofMany("act");
    document.querySelectorAll("[data-acts]").forEach(function (each) {
      each.hidden = each.dataset.acts.split(" ").indexOf(act.value) < 0;
    });
  }
  document.addEventListener("change", function (event) {
    var box = event.target;
    if (box.id === "many-act") { fields(); }
    (box.id === "many-page" ? boxes() : boxes().filter(function (each) { return each === box; })).forEach(function (each) {
      chosen[box.checked ? "add" : "delete"](each.value);
    });
    choose();
  });
  document.addEventListener("htmx:afterSwap", function () { choose(); fields(); });
  fields();
  boxes().forEach(function (each) { if (each.checked) { chosen.add(each.value); } });
  count();
})();
