"""The app people use in the browser: labelling, dashboards, and the JSON API behind both."""
