"use strict";
// The link's secret stands behind its #, which no server, log or Referer gets. It leaves the address at once.
document.querySelector("input[name=secret]").value = location.hash.slice(1);
history.replaceState(null, "", location.pathname);
