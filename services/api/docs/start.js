// Swagger UI over this service's own openapi.json; nothing is fetched from anywhere else.
window.SwaggerUIBundle({ url: "openapi.json", dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null });
