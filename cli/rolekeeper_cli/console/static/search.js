// The search field in the head of every page, with the palette below it, and the keyboard shortcuts.
(function () {
  "use strict";
  // ---- search: what is found is listed below the field while a person types ----
  var field = document.getElementById("find"), palette = document.getElementById("palette");
  var before = null;
  function options() { return Array.from(palette.querySelectorAll("[role=option]")); }
  function choose(option) {
    options().forEach(function (each) { each.setAttribute("aria-selected", each === option ? "true" : "false"); });
    if (option) { field.setAttribute("aria-activedescendant", option.id); option.scrollIntoView({block: "nearest"}); }
    else { field.removeAttribute("aria-activedescendant"); }
  }
  function unfold(open) {
    palette.hidden = !open;
    field.setAttribute("aria-expanded", open && options().length ? "true" : "false");
    if (!open) { choose(null); }
  }
  function search() {
    if (document.activeElement !== field) { before = document.activeElement; }
    field.focus();
    field.select();
  }
  function visited() { return JSON.parse(sessionStorage.getItem("visited") || "[]"); }
  // The pages of this tab, the newest first, ahead of what there is to do.
  function list_visited() {
    var here = location.pathname + location.search, hits = document.getElementById("hits");
    var group = document.createElement("div"), label = document.createElement("p");
    group.setAttribute("role", "group");
    group.setAttribute("aria-labelledby", label.id = "hits-visited");
    label.textContent = "Visited";
    group.appendChild(label);
    visited().filter(function (each) { return each.address !== here; }).forEach(function (each) {
      var link = document.createElement("a");
      link.setAttribute("role", "option");
      link.tabIndex = -1;
      link.href = each.address;
      link.textContent = each.title;
      group.appendChild(link);
    });
    if (hits && group.children.length > 1) { hits.prepend(group); }
  }
  field.setAttribute("role", "combobox");
  field.setAttribute("aria-autocomplete", "list");
  field.setAttribute("aria-controls", "hits");
  unfold(false);
  if (location.pathname !== "/search" && ((performance.getEntriesByType("navigation")[0] || {}).responseStatus || 200) < 400) {
    var at = new URL(location.href);
    at.searchParams.delete("said");
    var page = {title: document.title.replace(/ · Rolekeeper$/, ""), address: at.pathname + at.search};
    sessionStorage.setItem("visited", JSON.stringify([page].concat(visited().filter(function (each) {
      return each.address !== page.address;
    })).slice(0, 6)));
  }
  document.addEventListener("htmx:afterSwap", function (event) {
    if (event.detail.target !== palette || document.activeElement !== field) { return; }
    if (!field.value.trim()) { list_visited(); }
    options().forEach(function (each, at) { each.id = "hit-" + at; });
    unfold(true);
    document.getElementById("heard").textContent = options().length + " results";
  });
  field.addEventListener("keydown", function (event) {
    var all = options(), at = all.indexOf(palette.querySelector("[aria-selected=true]"));
    var step = {ArrowDown: 1, ArrowUp: -1}[event.key];
    if (step && !palette.hidden && all.length) {
      event.preventDefault();
      // Behind the last one, and before the first, is the field itself.
      choose(all[(at + 1 + step + all.length + 1) % (all.length + 1) - 1] || null);
    } else if (event.key === "Enter" && at >= 0) {
      event.preventDefault();
      all[at].click();
    } else if (event.key === "Escape") {
      event.preventDefault();
      unfold(false);
      field.blur();
      if (before && before.isConnected) { before.focus(); }
    }
  });
  field.form.addEventListener("focusout", function (event) {
    if (!field.form.contains(event.relatedTarget)) { unfold(false); }
  });

  // ---- keys: what the table of them says ----
  var keys = document.getElementById("keys"), does = {}, pending = "", late;
  document.querySelectorAll("#keys [data-keys]").forEach(function (each) { does[each.dataset.keys] = each.dataset.does; });
  keys.querySelector("button").addEventListener("click", function () { keys.close(); });
  function used() { return localStorage.getItem("keys") !== "off"; }
  document.querySelectorAll(".keys-on").forEach(function (each) {
    each.checked = used();
    each.addEventListener("change", function () { localStorage.setItem("keys", each.checked ? "on" : "off"); });
  });
  function row() { return document.activeElement.closest("main tbody tr, main .hits li"); }
  function link(of) { return of.querySelector("th a[href]") || of.querySelector("a[href]"); }
  // A row is where the focus is in it, so a part that is drawn anew keeps it, as it keeps the focus.
  function move(by) {
    var rows = Array.from(document.querySelectorAll("main tbody tr, main .hits li")).filter(function (each) {
      return link(each) && each.offsetParent;
    });
    var next = rows[row() ? rows.indexOf(row()) + by : 0];
    if (next) { link(next).focus(); }
  }
  function press(key) { var found = row() && row().querySelector("[data-key=" + key + "]"); if (found) { found.click(); } }
  function box_of() { return row() && row().querySelector("input[type=checkbox]"); }
  var acts = {
    search: search,
    keys: function () { keys.showModal(); },
    next: function () { move(1); },
    previous: function () { move(-1); },
    open: function () { if (row()) { link(row()).click(); } },
    check: function () { var box = box_of(); if (box) { box.click(); } },
    // As a click with shift: all rows between the one that was checked last and this one.
    edit: function () { press("e"); },
    review: function () { press("r"); },
    check_up_to: function () { var box = box_of(); if (box) { box.checked = false; box.dispatchEvent(new MouseEvent("click", {bubbles: true, cancelable: true, shiftKey: true})); } },
    change: function () {
      var act = document.getElementById("many-act");
      if (act) { act.closest("details").open = true; act.focus(); }
    }
  };
  function is_typed(into) {
    return into.isContentEditable || into.matches("textarea, select, input:not([type=checkbox], [type=radio])");
  }
  document.addEventListener("keydown", function (event) {
    var modified = event.ctrlKey || event.metaKey;
    if (document.querySelector("dialog[open]")) { return; }
    if (modified && !event.altKey && !event.shiftKey && event.key.toLowerCase() === "k") {
      event.preventDefault();
      search();
      return;
    }
    if (modified || event.altKey || !used() || is_typed(event.target)) { return; }
    var pressed = pending + event.key, does_it = does[pressed] || does[event.key];
    clearTimeout(late);
    pending = event.key === "g" ? "g " : "";
    late = setTimeout(function () { pending = ""; }, 1500);
    if (!does_it) { return; }
    event.preventDefault();
    if (acts[does_it]) { acts[does_it](); } else { location.assign(does_it); }
  });
})();
