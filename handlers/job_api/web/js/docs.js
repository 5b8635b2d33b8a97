// The API reference at /docs, made by swagger-ui from the server's own OpenAPI document.
window.SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#docs",
  deepLinking: true,
  // Its default sends the document's address to a server of its makers.
  validatorUrl: null,
});
