// Choosing instances, to change many at once.
(function () {
  "use strict";
  // The choice, names by id, survives that the list is drawn anew, and lasts over its pages: until it is sent, or the
  // tab is closed.
  var chosen = new Map(JSON.parse(sessionStorage.getItem("many") || "[]")), last = null, named = 5;
  function ofMany(part) { return document.getElementById("many-" + part); }
  function boxes() { return Array.from(document.querySelectorAll("input[name=instance][form=many]")); }
  function whole() { var all = document.querySelector("#many input[name=all]"); return all && all.checked; }
  // A link to each of the newest, and a button that takes it out again.
  function name(names) {
    var newest = Array.from(chosen).reverse().slice(0, named), more = chosen.size - newest.length, held = names.contains(document.activeElement);
    // As it was, so that what has the focus keeps it.
    if (names.dataset.shown === JSON.stringify([newest, more])) { return; }
    names.dataset.shown = JSON.stringify([newest, more]);
    names.replaceChildren();
    newest.forEach(function (each) {
      var link = Object.assign(document.createElement("a"), {href: "/instance/" + encodeURIComponent(each[0]), textContent: each[1]});
      var out = Object.assign(document.createElement("button"), {type: "button", value: each[0], textContent: "\u00d7", className: "unchoose"});
      out.setAttribute("aria-label", "Choose " + each[1] + " no longer");
      names.append(link, out);
    });
    if (more) { names.append("and " + more + " more"); }
    if (held) { (names.querySelector("button") || names.closest("details").querySelector("summary")).focus(); }
  }
  function count() {
    var shown = ofMany("count"), there = boxes().filter(function (each) { return each.checked; }).length;
    if (!shown) { return; }
    var elsewhere = chosen.size - there, some = chosen.size > 0 || whole();
    name(ofMany("names"));
    shown.textContent = chosen.size ? ": " + chosen.size + " chosen" + (elsewhere ? ", " + elsewhere + " not on this page" : "") : "";
    [ofMany("page"), ofMany("head")].forEach(function (each) { if (each) { each.checked = there > 0 && there === boxes().length; } });
    var bar = shown.closest("details"), was = bar.classList.contains("chosen");
    bar.classList.toggle("chosen", Boolean(some));
    // Only what is chosen first opens it, and what is chosen no longer closes it: a person works in it meanwhile.
    if (was !== Boolean(some)) { bar.open = Boolean(some) && matchMedia("(min-width: 40rem)").matches; }
  }
  function choose() {
    boxes().forEach(function (each) { each.checked = chosen.has(each.value); });
    sessionStorage.setItem("many", JSON.stringify(Array.from(chosen)));
    count();
  }
  function nameOf(box) { return box.getAttribute("aria-label").replace(/^Choose /, ""); }
  function take(some, on) {
    some.forEach(function (each) { if (on) { chosen.set(each.value, nameOf(each)); } else { chosen.delete(each.value); } });
    choose();
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
    if (box.id === "many-page" || box.id === "many-head") { take(boxes(), box.checked); } else if (boxes().indexOf(box) >= 0) { take([box], box.checked); } else { count(); }
  });
  document.addEventListener("click", function (event) {
    if (event.target.id === "many-none") { chosen.clear(); document.querySelectorAll("#many input[name=all]").forEach(function (each) { each.checked = false; }); choose(); return; }
    if (event.target.matches(".unchoose")) { chosen.delete(event.target.value); choose(); return; }
    var all = boxes(), at = all.indexOf(event.target), from = all.findIndex(function (each) { return each.value === last; });
    if (at < 0) { return; }
    // With shift, all between this one and the one before.
    if (event.shiftKey && from >= 0) { take(all.slice(Math.min(at, from), Math.max(at, from) + 1), event.target.checked); }
    last = event.target.value;
  });
  document.addEventListener("submit", function (event) {
    if (event.target.id !== "many") { return; }
    var shown = boxes().map(function (each) { return each.value; });
    chosen.forEach(function (name, id) {
      if (whole() || shown.indexOf(id) >= 0) { return; }
      event.target.appendChild(Object.assign(document.createElement("input"), {type: "hidden", name: "instance", value: id}));
    });
    sessionStorage.removeItem("many");
  });
  document.addEventListener("htmx:afterSwap", function () { choose(); fields(); });
  if (!ofMany("act")) { return; }
  fields();
  boxes().forEach(function (each) { if (each.checked) { chosen.set(each.value, nameOf(each)); } });
  choose();
})();
