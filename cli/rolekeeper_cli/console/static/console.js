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
  // A page that was shown as it was known fills itself in, but not over what a person typed or chose meanwhile.
  function typed() {
    return Array.from(document.querySelectorAll("#main input, #main textarea")).some(function (each) {
      return each.value !== each.defaultValue || Boolean(each.checked) !== Boolean(each.defaultChecked);
    });
  }
  document.addEventListener("htmx:beforeSwap", function (event) {
    var filling = event.detail.requestConfig.elt;
    if (filling.id !== "filling" || event.detail.xhr.status !== 200 || !typed()) { return; }
    event.detail.shouldSwap = false;
    var note = document.createElement("p");
    note.className = "note";
    note.textContent = "There is a newer state of this page. Load it again to see it.";
    filling.replaceWith(note);
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
  // As page.py says it: up to this many seconds, the unit and its seconds.
  var units = JSON.parse(document.documentElement.dataset.units || "[]");
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
  // The time of the person's own clock beside UTC, where that differs: on an axis, and on hover of a time.
  function local(event) {
    if (!new Date().getTimezoneOffset()) { return; }
    event.target.querySelectorAll("[data-local]").forEach(function (each) {
      var at = new Date(each.dataset.local), text = at.toLocaleTimeString([], {hour: "2-digit", minute: "2-digit", hour12: false});
      each.textContent = each.tagName === "tspan" ? " (" + text + " local)" : text;
    });
    event.target.querySelectorAll("time[title$=UTC]").forEach(function (each) {
      each.title += ", " + new Date(each.getAttribute("datetime")).toLocaleString() + " local time";
    });
  }
  document.addEventListener("htmx:load", local);
  setInterval(function () {
    document.querySelectorAll("time[datetime]").forEach(function (each) {
      var text = ago(each.getAttribute("datetime"));
      if (each.textContent !== text) { each.textContent = text; }
    });
  }, 10000);
})();
