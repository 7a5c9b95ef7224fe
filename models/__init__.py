"""The bundled models: installed with the package, as edge_agent.models."""
