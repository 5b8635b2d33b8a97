locals {
  pools = {
    system = {
      ami     = "AL2023_x86_64_STANDARD"
      machine = var.system_machine
      disk    = 50
    }
    gpu = {
      ami     = "AL2023_x86_64_NVIDIA"
      machine = var.gpu_machine
      disk    = 100
    }
  }
  node_policies = ["AmazonEKSWorkerNodePolicy", "AmazonEKS_CNI_Policy", "AmazonEC2ContainerRegistryPullOnly"]
}

data "aws_iam_policy_document" "node_trust" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["ec2.amazonaws.com"]
    }
  }
}

resource "aws_iam_role" "node" {
  name               = "${var.name}-node"
  assume_role_policy = data.aws_iam_policy_document.node_trust.json
}

resource "aws_iam_role_policy_attachment" "node" {
  for_each   = toset(local.node_policies)
  role       = aws_iam_role.node.name
  policy_arn = "arn:${data.aws_partition.current.partition}:iam::aws:policy/${each.value}"
}

# One hop: a pod cannot get the node's credentials.
resource "aws_launch_template" "node" {
  for_each      = local.pools
  name_prefix   = "${var.name}-${each.key}-"
  instance_type = each.value.machine

  block_device_mappings {
    device_name = "/dev/xvda"

    ebs {
      volume_size           = each.value.disk
      volume_type           = "gp3"
      encrypted             = "true"
      delete_on_termination = "true"
    }
  }

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }
}

resource "aws_eks_node_group" "system" {
  cluster_name    = aws_eks_cluster.this.name
  node_group_name = "system"
  node_role_arn   = aws_iam_role.node.arn
  subnet_ids      = aws_subnet.private[*].id
  ami_type        = local.pools.system.ami

  launch_template {
    id      = aws_launch_template.node["system"].id
    version = aws_launch_template.node["system"].latest_version
  }

  scaling_config {
    min_size     = var.system_nodes
    desired_size = var.system_nodes
    max_size     = var.system_nodes
  }

  depends_on = [
    aws_eks_addon.early,
    aws_eks_addon.network,
    aws_iam_role_policy_attachment.node,
  ]
}

# No node until a worker waits for one; the cluster autoscaler adds and removes them.
resource "aws_eks_node_group" "gpu" {
  cluster_name    = aws_eks_cluster.this.name
  node_group_name = "gpu"
  node_role_arn   = aws_iam_role.node.arn
  subnet_ids      = aws_subnet.private[*].id
  ami_type        = local.pools.gpu.ami
  capacity_type   = var.gpu_spot ? "SPOT" : "ON_DEMAND"

  labels = {
    "k8s.amazonaws.com/accelerator" = "nvidia"
  }

  launch_template {
    id      = aws_launch_template.node["gpu"].id
    version = aws_launch_template.node["gpu"].latest_version
  }

  scaling_config {
    min_size     = 0
    desired_size = 0
    max_size     = var.gpu_nodes_max
  }

  taint {
    key    = "nvidia.com/gpu"
    value  = "present"
    effect = "NO_SCHEDULE"
  }

  lifecycle {
    ignore_changes = [scaling_config[0].desired_size]
  }

  depends_on = [
    aws_eks_addon.early,
    aws_eks_addon.network,
    aws_iam_role_policy_attachment.node,
  ]
}

# With no node to look at, the autoscaler reads a node's properties from the group's tags.
resource "aws_autoscaling_group_tag" "gpu" {
  for_each = {
    "k8s.io/cluster-autoscaler/node-template/label/k8s.amazonaws.com/accelerator" = "nvidia"
    "k8s.io/cluster-autoscaler/node-template/taint/nvidia.com/gpu"                = "present:NoSchedule"
    "k8s.io/cluster-autoscaler/node-template/resources/nvidia.com/gpu"            = "1"
    "k8s.io/cluster-autoscaler/node-template/resources/ephemeral-storage"         = "${local.pools.gpu.disk - 15}Gi"
  }
  autoscaling_group_name = aws_eks_node_group.gpu.resources[0].autoscaling_groups[0].name

  tag {
    key                 = each.key
    value               = each.value
    propagate_at_launch = false
  }
}
