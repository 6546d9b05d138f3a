// Says it when what a page shows can't be refreshed: the server has ended, or refuses. While a page is open, keeps
// "5 min ago" true, and open what a person unfolded. Pages work without this.
(function () {
  "use strict";
  function banner() { return document.getElementById("lost"); }
  function say(text) { banner().textContent = text; banner().hidden = false; }
  document.addEventListener("htmx:sendError", function () {
    say("The console can't be reached: it has ended, or this machine slept. This page shows what was known before. "
      + "Start it again: rolekeeper console");
  });
  document.addEventListener("htmx:responseError", function (event) {
    say(event.detail.xhr.status === 403
      ? "This window is no longer let in. Start the console again, and use its link: rolekeeper console"
      : event.detail.xhr.status === 421
      ? "The console was started again, and this page is of the former one. Load it again: it leads to the new one."
      : "This page can't be refreshed now, and shows what was known before. Load it again to see why.");
  });
  document.addEventListener("htmx:afterOnLoad", function (event) {
    if (event.detail.xhr.status < 400) { banner().hidden = true; }
  });
  // By its id, or its words and where it is: a part that is drawn anew knows nothing of the fold that was open before.
  var unfolded = [];
  function nameOf(summary) {
    return summary.parentElement.id || (summary.closest("[id]") || {}).id + summary.textContent;
  }
  function folds(open) { return Array.from(document.querySelectorAll(open ? "details[open] > summary" : "summary")); }
  document.addEventListener("htmx:beforeSwap", function () {
    unfolded = folds(true).map(nameOf);
  });
  document.addEventListener("htmx:afterSwap", function () {
    folds(false).forEach(function (each) {
      if (unfolded.indexOf(nameOf(each)) >= 0) { each.parentElement.open = true; }
    });
  });
  // A list of suggestions completes a whole field; this one its last word: each begins with what is before that.
  document.addEventListener("input", function (event) {
    var list = event.target.id === "q" && event.target.list;
    if (!list) { return; }
    var before = event.target.value.match(/^(?:(?:[^\s"]|"(?:[^"\\]|\\.)*")*\s+)*/)[0];
    Array.from(list.options).forEach(function (each) {
      each.label = each.label || each.value;
      each.value = before + each.label;
    });
  });
  // Only a script can copy, so the stylesheet shows those buttons only with one.
  document.documentElement.classList.add("scripted");
  document.addEventListener("click", function (event) {
    var button = event.target.closest("button.copy");
    if (!button) { return; }
    navigator.clipboard.writeText(button.value).then(function () {
      button.classList.add("copied");
      document.getElementById("heard").textContent = "Copied";
      setTimeout(function () { button.classList.remove("copied"); }, 1500);
    }, function () { say("The browser doesn't let the console copy. Select the text, and copy it by hand."); });
  });
  // Instances to change at once: which are chosen survives that the list is drawn anew.
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
  // As page.py says it: up to this many seconds, the unit and its seconds.
  var units = [[60, "s", 1], [3600, "min", 60], [172800, "h", 3600], [5184000, "days", 86400]];
  function ago(at) {
    var seconds = Math.floor((Date.now() - Date.parse(at)) / 1000), away = Math.abs(seconds);
    for (var i = 0; i < units.length; i += 1) {
      if (away < units[i][0]) {
        var number = Math.floor(away / units[i][2]) + " " + units[i][1];
        return seconds < 0 ? "in " + number : number + " ago";
      }
    }
    return at.slice(0, 10);
  }
  setInterval(function () {
    document.querySelectorAll("time[datetime]").forEach(function (each) {
      var text = ago(each.getAttribute("datetime"));
      if (each.textContent !== text) { each.textContent = text; }
    });
  }, 10000);

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
  if (location.pathname !== "/search" && (performance.getEntriesByType("navigation")[0].responseStatus || 200) < 400) {
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
  var acts = {
    search: search,
    keys: function () { keys.showModal(); },
    next: function () { move(1); },
    previous: function () { move(-1); },
    open: function () { if (row()) { link(row()).click(); } },
    check: function () { var box = row() && row().querySelector("input[type=checkbox]"); if (box) { box.click(); } }
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
