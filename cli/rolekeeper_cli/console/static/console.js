// Says it when what a page shows can't be refreshed: the server has ended, or refuses. Pages work without this.
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
      ? "This window is no longer let in: the console was started anew. Use the link that it gave then."
      : "This page can't be refreshed now, and shows what was known before. Load it again to see why.");
  });
  document.addEventListener("htmx:afterOnLoad", function (event) {
    if (event.detail.xhr.status < 400) { banner().hidden = true; }
  });
})();
